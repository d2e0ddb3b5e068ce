/* The inputs behind N-EUREKA's whole blocks, the cores' and folded ones: the cores add their products to the sums of a group
 * before these are scaled.
 */
#ifndef EDGEC_MATMUL_W4A8_NEUREKA_TAIL_H
#define EDGEC_MATMUL_W4A8_NEUREKA_TAIL_H

#include "edgec_kernel.h"
#include "neureka_jobs.h"

/* A channel's weights of the cores' inputs of group g, bytes to the next channel's, and those inputs of a row. */
#define EDGEC_TAIL_OF(a, row, channel, g)                                                                    \
    (a)->w_tail + ((channel) * (a)->groups + (g)) * (a)->tail, (a)->groups *(a)->tail,                       \
        (a)->x + (row) * (a)->k + ((a)->groups == 1u ? (a)->k : ((g) + 1u) * (a)->group_size) - (a)->tail,   \
        (a)->tail

/* What the engine's job of folded inputs gives, of a row from a channel on. */
#define EDGEC_FOLDED_OF(a, row, channel)                                                                     \
    (a)->fold_acc + (row) * EDGEC_NEUREKA_FOLDED *EDGEC_NEUREKA_FOLD_ROWS((a)->fold) + (channel)

/* `add` of each group's inputs of the cores, if there are any, and what folded ones give, for `count` channels of a row, whose
 * sums begin at acc. */
#define EDGEC_ADD_TAILS(add, a, acc, row, channel, count)                                                    \
    do {                                                                                                     \
        EDGEC_UNROLL_1                                                                                       \
        for (uint32_t g_ = 0; EDGEC_SELDOM((a)->tail > 0) && g_ < (a)->groups; g_++) {                       \
            add(EDGEC_TAIL_OF(a, row, channel, g_), (acc) + g_ * (a)->tile, count);                          \
        }                                                                                                    \
        if (EDGEC_SELDOM((a)->fold > 0)) {                                                                   \
            edgec_neureka_add_folded(EDGEC_FOLDED_OF(a, row, channel), acc, count);                          \
        }                                                                                                    \
    } while (0)

/* Adds what a job of folded inputs gives to the sums of `count` channels of a row. */
EDGEC_INLINE void edgec_neureka_add_folded(const int32_t *folded, const int32_t *acc, uint32_t count) {
    int32_t *const sums = (int32_t *)(uintptr_t)acc; /* scratch, written by the engine */
    EDGEC_UNROLL_1
    for (uint32_t n = 0; n < count; n++) {
        sums[n] += folded[n];
    }
}

/* Adds the products of inputs of the cores to the sums of `count` channels of a row. */
EDGEC_INLINE void edgec_neureka_add_tail(const int8_t *w, uint32_t step, const int8_t *x, uint32_t tail,
                                         const int32_t *acc, uint32_t count) {
    int32_t *const sums = (int32_t *)(uintptr_t)acc; /* scratch, written by the engine */
    for (uint32_t n = 0; n < count; n++) {
        for (uint32_t i = 0; i < tail; i++) {
            sums[n] += x[i] * w[n * step + i];
        }
    }
}

#endif
