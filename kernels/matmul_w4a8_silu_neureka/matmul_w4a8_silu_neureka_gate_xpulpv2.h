/* silu(gate) * up straight from N-EUREKA's sums, for cores with XpulpV2: gate and up are never stored. */
#ifndef EDGEC_MATMUL_W4A8_SILU_NEUREKA_GATE_XPULPV2_H
#define EDGEC_MATMUL_W4A8_SILU_NEUREKA_GATE_XPULPV2_H

#include "../matmul_w4a8_neureka/matmul_w4a8_neureka_scale_xpulpv2.h"
#include "edgec_silu_xpulpv2.h"

#if defined(EDGEC_PULP_FLOAT)
/* Channels of gate and of up in a row. */
typedef struct {
    const int32_t *gate_acc, *up_acc;
    const float *gate_w, *up_w; /* their scales times 2^-112 */
    float *v;                   /* may be gate_w */
} edgec_gate_span;

/* w_scale [count] as floats that lack 2^112, as scale_span has them: rows and tiles then need not convert them. count: at
 * least 1. Up to 2 bytes behind w_scale are read and not used. */
EDGEC_INLINE void widen(const uint16_t *w_scale, float *w, uint32_t count) {
    uint32_t h, v;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_P_LH("%[h]", "2", "%[from]")
        EDGEC_HWLOOP("0", "%[count]", "4",
            "slli %[v], %[h], 13\n\t"
            EDGEC_P_LH("%[h]", "2", "%[from]")
            "and %[v], %[v], %[mask]\n\t"
            EDGEC_P_SW("%[v]", "4", "%[to]"))
        : [from] "+r"(w_scale), [to] "+r"(w), [h] "=&r"(h), [v] "=&r"(v)
        : [count] "r"(count), [mask] "r"(F16_MASK)
        : "memory");
    /* clang-format on */
}

/* v = silu(gate) * up, where gate = float(gate_acc) * (gate_w * x), and up likewise; x has 2^112 in it. Returns the
 * larger of max |v| and `top`, by their bits doubled: without the sign, numbers are in the order of their bits. count: at
 * least 1. Up to 4 bytes behind what is read are read too.
 *
 * The next instruction but one is the first that gets a float instruction's result without waiting, and a float
 * instruction behind another one waits for a cycle. So two elements are under way, and no cycle is lost: the loop loads,
 * converts and scales gate's sum of the next one (g, w) while it finishes the present one. edgec_silu_row has its table. */
EDGEC_INLINE uint32_t gate_times_up(edgec_gate_span span, uint32_t count, float x, uint32_t top) {
    const uintptr_t lines =
        (uintptr_t)hal_sigmoid_lines + 8u * EDGEC_SIGMOID_MIDDLE - 8u * EDGEC_SIGMOID_MAGIC_BITS;
    uint32_t g, w, u, q, p, t, b, s, r, v = 0, highest, lowest, magic, slopes;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_P_LW("%[g]", "4", "%[gate]")
        EDGEC_P_LW("%[w]", "4", "%[gate_w]")
        "li %[lowest], %[lowest_]\n\t"
        "fcvt.s.w %[g], %[g]\n\t"
        "li %[highest], %[highest_]\n\t"
        "fmul.s %[w], %[w], %[x]\n\t"
        EDGEC_P_LW("%[u]", "4", "%[up]")
        EDGEC_P_LW("%[q]", "4", "%[up_w]")
        "li %[magic], %[magic_]\n\t"
        "addi %[slopes], %[lines], 4\n\t"
        EDGEC_HWLOOP("0", "%[count]", "23",
            "fmul.s %[p], %[g], %[w]\n\t"
            EDGEC_P_LW("%[g]", "4", "%[gate]")
            "fmul.s %[q], %[q], %[x]\n\t"
            EDGEC_P_MINU("%[t]", "%[p]", "%[lowest]")
            "fcvt.s.w %[u], %[u]\n\t"
            EDGEC_P_MIN("%[t]", "%[t]", "%[highest]")
            "fadd.s %[b], %[t], %[magic]\n\t"
            EDGEC_P_LW("%[w]", "4", "%[gate_w]")
            "fmul.s %[r], %[u], %[q]\n\t"
            "slli %[b], %[b], 3\n\t"
            "fcvt.s.w %[g], %[g]\n\t"
            EDGEC_P_LW_RR("%[s]", "%[b]", "%[slopes]")
            "fmul.s %[w], %[w], %[x]\n\t"
            EDGEC_P_LW_RR("%[b]", "%[b]", "%[lines]")
            "fmul.s %[t], %[s], %[t]\n\t"
            EDGEC_P_LW("%[u]", "4", "%[up]")
            "fadd.s %[t], %[t], %[b]\n\t"
            EDGEC_P_LW("%[q]", "4", "%[up_w]")
            "fmul.s %[t], %[t], %[p]\n\t"
            "slli %[s], %[v], 1\n\t"
            "fmul.s %[v], %[t], %[r]\n\t"
            EDGEC_P_MAXU("%[top]", "%[top]", "%[s]")
            EDGEC_P_SW("%[v]", "4", "%[to]"))
        "slli %[v], %[v], 1\n\t"
        EDGEC_P_MAXU("%[top]", "%[top]", "%[v]")
        : [gate] "+r"(span.gate_acc), [up] "+r"(span.up_acc), [gate_w] "+r"(span.gate_w), [up_w] "+r"(span.up_w),
          [to] "+r"(span.v), [top] "+r"(top), [g] "=&r"(g), [w] "=&r"(w), [u] "=&r"(u), [q] "=&r"(q), [p] "=&r"(p),
          [t] "=&r"(t), [b] "=&r"(b), [s] "=&r"(s), [r] "=&r"(r), [v] "+r"(v), [highest] "=&r"(highest),
          [lowest] "=&r"(lowest), [magic] "=&r"(magic), [slopes] "=&r"(slopes)
        : [count] "r"(count), [x] "r"(x), [lines] "r"(lines), [highest_] "i"(EDGEC_SIGMOID_HIGHEST),
          [lowest_] "i"(EDGEC_SIGMOID_LOWEST), [magic_] "i"(EDGEC_SIGMOID_MAGIC_BITS)
        : "memory");
    /* clang-format on */
    return top;
}
#endif

#endif
