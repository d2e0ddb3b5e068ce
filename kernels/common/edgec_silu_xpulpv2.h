/* y = silu(gate) * up over a row, for cores with XpulpV2. */
#ifndef EDGEC_SILU_XPULPV2_H
#define EDGEC_SILU_XPULPV2_H

#include "edgec_rows_xpulpv2.h"
#include "edgec_silu.h"

#if defined(EDGEC_PULP_FLOAT)
extern const uint32_t hal_sigmoid_lines[EDGEC_SIGMOID_LINES][2]; /* edgec_sigmoid_lines in L1, from the HAL */
#endif

/* gate, up, y: [count], at least 1; y may be gate or up. Returns the larger of max |y| and `top`. */
EDGEC_INLINE float edgec_silu_row(const float *gate, const float *up, float *y, uint32_t count, float top) {
    uint32_t doubled = edgec_bits(top) << 1; /* without the sign, numbers are in the order of their bits */
#if defined(EDGEC_PULP_FLOAT)
    /* What 8 * (the bits of t + magic) is added to, modulo 2^32, to find the line of t. */
    const uintptr_t lines =
        (uintptr_t)hal_sigmoid_lines + 8u * EDGEC_SIGMOID_MIDDLE - 8u * EDGEC_SIGMOID_MAGIC_BITS;
    uint32_t g, t, r, a, b, u, s, v = 0, highest, lowest, magic, slopes, rounds = count - 1u;
    /* The next instruction but one is the first that gets a float instruction's result without waiting, and a float
     * instruction behind another one waits for a cycle. So two elements are under way: the line a + b * t of the next
     * one (g, t, r), and the products of the present one (u, s, v). Constants are made here, or a compiler keeps some in
     * memory. Floats are given by their bits. */
    /* clang-format off */
#define EDGEC_SILU_LINE                                   \
    "fadd.s %[r], %[t], %[magic]\n\t"                     \
    "slli %[v], %[v], 1\n\t"                              \
    "slli %[r], %[r], 3\n\t"                              \
    EDGEC_P_LW_RR("%[b]", "%[r]", "%[slopes]")            \
    EDGEC_P_LW_RR("%[a]", "%[r]", "%[lines]")
#define EDGEC_SILU_PRODUCT(next)                          \
    "fmul.s %[s], %[b], %[t]\n\t"                         \
    EDGEC_P_LW("%[u]", "4", "%[up]")                      \
    "fadd.s %[s], %[s], %[a]\n\t"                         \
    EDGEC_P_MAXU("%[top]", "%[top]", "%[v]")              \
    "fmul.s %[s], %[s], %[g]\n\t"                         \
    next                                                  \
    "fmul.s %[v], %[s], %[u]\n\t"
        __asm__ volatile(
        EDGEC_P_LW("%[g]", "4", "%[gate]")
        "li %[lowest], %[lowest_]\n\t"
        "li %[highest], %[highest_]\n\t"
        EDGEC_P_MINU("%[t]", "%[g]", "%[lowest]")
        "li %[magic], %[magic_]\n\t"
        EDGEC_P_MIN("%[t]", "%[t]", "%[highest]")
        "addi %[slopes], %[lines], 4\n\t"
        EDGEC_SILU_LINE
        "beqz %[rounds], 1f\n\t"
        EDGEC_HWLOOP("0", "%[rounds]", "15",
            EDGEC_SILU_PRODUCT(EDGEC_P_LW("%[g]", "4", "%[gate]"))
            EDGEC_P_MINU("%[t]", "%[g]", "%[lowest]")
            EDGEC_P_SW("%[v]", "4", "%[y]")
            EDGEC_P_MIN("%[t]", "%[t]", "%[highest]")
            EDGEC_SILU_LINE)
        "1:\n\t"
        EDGEC_SILU_PRODUCT("")
        EDGEC_P_SW("%[v]", "4", "%[y]")
        "slli %[v], %[v], 1\n\t"
        EDGEC_P_MAXU("%[top]", "%[top]", "%[v]")
        : [gate] "+r"(gate), [up] "+r"(up), [y] "+r"(y), [top] "+r"(doubled), [rounds] "+r"(rounds), [g] "=&r"(g),
          [t] "=&r"(t), [r] "=&r"(r), [a] "=&r"(a), [b] "=&r"(b), [u] "=&r"(u), [s] "=&r"(s), [v] "+r"(v),
          [highest] "=&r"(highest), [lowest] "=&r"(lowest), [magic] "=&r"(magic), [slopes] "=&r"(slopes)
        : [lines] "r"(lines), [highest_] "i"(EDGEC_SIGMOID_HIGHEST), [lowest_] "i"(EDGEC_SIGMOID_LOWEST),
          [magic_] "i"(EDGEC_SIGMOID_MAGIC_BITS)
        : "memory");
#undef EDGEC_SILU_LINE
#undef EDGEC_SILU_PRODUCT
    /* clang-format on */
#else
    for (; count > 0; count--) {
        const float value = edgec_silu(*gate++) * *up++;
        *y++ = value;
        doubled = edgec_p_maxu(doubled, edgec_bits(value) << 1);
    }
#endif
    return edgec_float(doubled >> 1);
}

#endif
