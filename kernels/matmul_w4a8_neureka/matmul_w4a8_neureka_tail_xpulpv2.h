/* The inputs behind N-EUREKA's whole blocks, by cores with XpulpV2: two channels at once, which share the inputs' words. */
#ifndef EDGEC_MATMUL_W4A8_NEUREKA_TAIL_XPULPV2_H
#define EDGEC_MATMUL_W4A8_NEUREKA_TAIL_XPULPV2_H

#include "edgec_rows_xpulpv2.h"
#include "matmul_w4a8_neureka_tail.h"

#if defined(EDGEC_PULP_FLOAT)
/* clang-format off */
/* Sums of pairs of channels; `start` sets %[v0] and %[v1] to what they begin with. */
#define EDGEC_TAIL_PAIRS(start)                                                                              \
    __asm__ volatile(                                                                                        \
        EDGEC_HWLOOP("1", "%[pairs]", "13",                                                                  \
            start                                                                                            \
            "mv %[at], %[x]\n\t"                                                                             \
            EDGEC_HWLOOP_INNER("0", "%[words]", "5",                                                         \
                EDGEC_P_LW("%[q]", "4", "%[at]")                                                             \
                EDGEC_P_LW("%[a]", "4", "%[w0]")                                                             \
                EDGEC_P_LW("%[b]", "4", "%[w1]")                                                             \
                EDGEC_PV_SDOTSP_B("%[v0]", "%[a]", "%[q]")                                                   \
                EDGEC_PV_SDOTSP_B("%[v1]", "%[b]", "%[q]"))                                                  \
            "add %[w0], %[w0], %[on]\n\t"                                                                    \
            "add %[w1], %[w1], %[on]\n\t"                                                                    \
            EDGEC_P_SW("%[v0]", "8", "%[s0]")                                                                \
            EDGEC_P_SW("%[v1]", "8", "%[s1]"))                                                               \
        : [w0] "+r"(w0), [w1] "+r"(w1), [s0] "+r"(s0), [s1] "+r"(s1), [at] "=&r"(at), [q] "=&r"(q),          \
          [a] "=&r"(p), [b] "=&r"(r), [v0] "=&r"(v0), [v1] "=&r"(v1)                                         \
        : [pairs] "r"(pairs), [words] "r"(tail / 4u), [x] "r"(x), [on] "r"(2u * step - tail)                 \
        : "memory")
/* clang-format on */

/* As edgec_neureka_add_tail, for at least one channel; anew: sums begin with 0, not with what is there. Of an odd number of
 * channels the first one is both of a pair. */
EDGEC_INLINE void tail_pairs(const int8_t *w, uint32_t step, const int8_t *x, uint32_t tail, int32_t *sums,
                             uint32_t count, int anew) {
    uint32_t v0, v1, q, p, r;
    const int8_t *at;
    EDGEC_UNROLL_1
    for (;;) {
        const uint32_t both = 1u - count % 2u, pairs = both ? count / 2u : 1u;
        const int8_t *w0 = w, *w1 = both ? w + step : w;
        int32_t *s0 = sums, *s1 = sums + both;
        if (anew) {
            EDGEC_TAIL_PAIRS("li %[v0], 0\n\tli %[v1], 0\n\t");
        } else {
            EDGEC_TAIL_PAIRS("lw %[v0], 0(%[s0])\n\tlw %[v1], 0(%[s1])\n\t");
        }
        if (both || count == 1u) {
            return;
        }
        count--;
        w += step;
        sums++;
    }
}

/* edgec_neureka_add_tail for at least one channel, and at least one input. */
EDGEC_APART void add_tail(const int8_t *w, uint32_t step, const int8_t *x, uint32_t tail, const int32_t *acc,
                          uint32_t count) {
    tail_pairs(w, step, x, tail, (int32_t *)(uintptr_t)acc, count, 0);
}
#endif

#endif
