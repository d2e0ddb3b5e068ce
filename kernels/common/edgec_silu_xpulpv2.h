/* y = silu(gate) * up over a row, for cores with XpulpV2.
 *
 * The cluster's cores share one divider, so gate / x, x = 1 + exp(-gate), is computed with fused multiply-adds: a guess for
 * 1 / x, two steps of third order, the quotient, and its remainder. The bits are the division's for every binary32 gate:
 * all from 2^-28 to 256 of both signs were tried, below x is 2, above it is 1 or the largest. tests/kernels/
 * test_division.py tries a part of them.
 */
#ifndef EDGEC_SILU_XPULPV2_H
#define EDGEC_SILU_XPULPV2_H

#include "edgec_rows_xpulpv2.h"

#if defined(EDGEC_PULP_FLOAT)
extern const uint32_t hal_exp2_table[32]; /* edgec_exp2_table in L1, from the HAL */
#endif

/* gate, up, y: [count], at least 1; y may be gate or up. Returns the larger of max |y| and `top`. */
EDGEC_INLINE float edgec_silu_row(const float *gate, const float *up, float *y, uint32_t count, float top) {
    uint32_t doubled = edgec_bits(top) << 1; /* without the sign, numbers are in the order of their bits */
#if defined(EDGEC_PULP_FLOAT)
    uint32_t g, t, f, p, r, x, n, d, e, q, v, highest, lowest, guess, rounds = count - 1u;
    float log2e, magic, c1, c2, one;
    /* The next instruction but one is the first that gets a float instruction's result without waiting. So two elements
     * are under way: p = exp(-gate) of the next one (g, t, f, r, x), and the quotient n / d of the present one (e, q, u, v).
     * A float instruction behind another one waits for a cycle, so the order is one in which only two do.
     * Constants are made here, or a compiler keeps some in memory. Floats are given by their bits. */
    /* clang-format off */
    __asm__ volatile(
        "li %[highest], 0x42AE0000\n\t" /* 87 */
        "li %[lowest], 0xC2B00000\n\t" /* -88 */
        "li %[log2e], 0xC238AA3B\n\t" /* -32 * log2(e) */
        "li %[magic], 0x4B400000\n\t"
        "li %[c1], 0x3CB172C2\n\t"
        "li %[c2], 0x3975FDF0\n\t"
        "li %[one], 0x3F800000\n\t"
        "li %[guess], 0x7EFD8000\n\t" /* less the bits of d: a number near 1 / d */
        EDGEC_P_LW("%[g]", "4", "%[gate]")
        EDGEC_P_MIN("%[t]", "%[g]", "%[highest]")
        EDGEC_P_MINU("%[t]", "%[t]", "%[lowest]")
        "fmul.s %[t], %[t], %[log2e]\n\t"
        "fadd.s %[r], %[t], %[magic]\n\t"
        "fsub.s %[f], %[r], %[magic]\n\t"
        "slli %[x], %[r], 2\n\t"
        "andi %[x], %[x], 124\n\t"
        "fsub.s %[f], %[t], %[f]\n\t"
        EDGEC_P_LW_RR("%[x]", "%[x]", "%[table]")
        "srai %[r], %[r], 5\n\t"
        "fmul.s %[p], %[f], %[c2]\n\t"
        "slli %[r], %[r], 23\n\t"
        "fadd.s %[p], %[p], %[c1]\n\t"
        "add %[x], %[x], %[r]\n\t"
        "fmul.s %[p], %[p], %[f]\n\t"
        "fadd.s %[p], %[p], %[one]\n\t"
        "fmul.s %[p], %[p], %[x]\n\t"
        "beqz %[u], 1f\n\t"
        EDGEC_HWLOOP("0", "%[u]", "44",
            "lui %[e], 0x5F000\n\t" /* 2^63: above it 1 / d would be subnormal, and both are divided by 2^32 */
            "fadd.s %[d], %[p], %[one]\n\t"
            "mv %[n], %[g]\n\t"
            "sltu %[e], %[e], %[d]\n\t"
            "slli %[e], %[e], 28\n\t"
            "sub %[n], %[n], %[e]\n\t"
            "sub %[d], %[d], %[e]\n\t"
            "sub %[q], %[guess], %[d]\n\t"
            "fnmsub.s %[e], %[d], %[q], %[one]\n\t"
            EDGEC_P_LW("%[g]", "4", "%[gate]")
            "fmadd.s %[e], %[e], %[e], %[e]\n\t"
            EDGEC_P_MIN("%[t]", "%[g]", "%[highest]")
            "fmadd.s %[q], %[q], %[e], %[q]\n\t"
            EDGEC_P_MINU("%[t]", "%[t]", "%[lowest]")
            "fmul.s %[t], %[t], %[log2e]\n\t"
            "addi %[v], %[d], 1\n\t" /* a significand of ones: its reciprocal rounds up, the steps' down */
            "fnmsub.s %[e], %[d], %[q], %[one]\n\t"
            "slli %[v], %[v], 9\n\t"
            "fadd.s %[r], %[t], %[magic]\n\t"
            "seqz %[v], %[v]\n\t"
            "fsub.s %[f], %[r], %[magic]\n\t"
            "slli %[x], %[r], 2\n\t"
            "fmadd.s %[e], %[e], %[e], %[e]\n\t"
            "andi %[x], %[x], 124\n\t"
            "fmadd.s %[q], %[q], %[e], %[q]\n\t"
            EDGEC_P_LW_RR("%[x]", "%[x]", "%[table]")
            "fsub.s %[f], %[t], %[f]\n\t"
            "srai %[r], %[r], 5\n\t"
            "fmul.s %[u], %[n], %[q]\n\t"
            "add %[q], %[q], %[v]\n\t"
            "fmul.s %[p], %[f], %[c2]\n\t"
            "slli %[r], %[r], 23\n\t"
            "fmsub.s %[e], %[d], %[u], %[n]\n\t" /* these signs keep that of a gate of zero */
            EDGEC_P_LW("%[n]", "4", "%[up]")
            "fnmsub.s %[u], %[e], %[q], %[u]\n\t"
            "add %[x], %[x], %[r]\n\t"
            "fmul.s %[u], %[u], %[n]\n\t"
            "fadd.s %[p], %[p], %[c1]\n\t"
            EDGEC_P_SW("%[u]", "4", "%[y]")
            "fmul.s %[p], %[p], %[f]\n\t"
            "slli %[u], %[u], 1\n\t"
            "fadd.s %[p], %[p], %[one]\n\t"
            EDGEC_P_MAXU("%[top]", "%[top]", "%[u]")
            "fmul.s %[p], %[p], %[x]\n\t")
        "1:\n\t"
        "fadd.s %[d], %[p], %[one]\n\t"
        "mv %[n], %[g]\n\t"
        "lui %[e], 0x5F000\n\t"
        "sltu %[e], %[e], %[d]\n\t"
        "slli %[e], %[e], 28\n\t"
        "sub %[d], %[d], %[e]\n\t"
        "sub %[n], %[n], %[e]\n\t"
        "sub %[q], %[guess], %[d]\n\t"
        "fnmsub.s %[e], %[d], %[q], %[one]\n\t"
        "fmadd.s %[e], %[e], %[e], %[e]\n\t"
        "fmadd.s %[q], %[q], %[e], %[q]\n\t"
        "fnmsub.s %[e], %[d], %[q], %[one]\n\t"
        "fmadd.s %[e], %[e], %[e], %[e]\n\t"
        "fmadd.s %[q], %[q], %[e], %[q]\n\t"
        "fmul.s %[u], %[n], %[q]\n\t"
        "fmsub.s %[e], %[d], %[u], %[n]\n\t" /* these signs keep that of a gate of zero */
        "addi %[n], %[d], 1\n\t" /* a significand of ones: its reciprocal rounds up, the steps' down */
        "slli %[n], %[n], 9\n\t"
        "seqz %[n], %[n]\n\t"
        "add %[q], %[q], %[n]\n\t"
        EDGEC_P_LW("%[n]", "4", "%[up]")
        "fnmsub.s %[u], %[e], %[q], %[u]\n\t"
        "fmul.s %[u], %[u], %[n]\n\t"
        EDGEC_P_SW("%[u]", "4", "%[y]")
        "slli %[u], %[u], 1\n\t"
        EDGEC_P_MAXU("%[top]", "%[top]", "%[u]")
        : [gate] "+r"(gate), [up] "+r"(up), [y] "+r"(y), [top] "+r"(doubled), [u] "+r"(rounds), [g] "=&r"(g),
          [t] "=&r"(t), [f] "=&r"(f), [p] "=&r"(p), [r] "=&r"(r), [x] "=&r"(x), [n] "=&r"(n), [d] "=&r"(d),
          [e] "=&r"(e), [q] "=&r"(q), [highest] "=&r"(highest), [lowest] "=&r"(lowest), [guess] "=&r"(guess),
          [v] "=&r"(v), [log2e] "=&r"(log2e), [magic] "=&r"(magic), [c1] "=&r"(c1), [c2] "=&r"(c2),
          [one] "=&r"(one)
        : [table] "r"(hal_exp2_table)
        : "memory");
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
