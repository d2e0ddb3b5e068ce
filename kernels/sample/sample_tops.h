/* Where the largest logit is, found by all cores.
 *
 * The logits are cut into 8 parts, whatever the number of cores, and these into blocks: the largest of a block is found
 * without a branch an element, and only the first block that has the largest of all is searched. Parts are whole blocks; the
 * last block of all ends with the logits, so that it may begin in one before, and parts behind it have it too. Neither
 * matters: of equal tops the first part's first one is taken.
 */
#ifndef EDGEC_SAMPLE_TOPS_H
#define EDGEC_SAMPLE_TOPS_H

#include "edgec_fork.h"
#include "edgec_math.h"
#include "sample.h"

#define EDGEC_SAMPLE_PARTS 8u
#define EDGEC_SAMPLE_BLOCK 16u /* logits; fewer are not cut */

typedef struct {
    const edgec_sample_args *a;
    float top[EDGEC_SAMPLE_PARTS];      /* the largest logit of each part */
    uint32_t begin[EDGEC_SAMPLE_PARTS]; /* of the first block that has it */
} edgec_sample_tops;

/* The larger of `top` and the largest of a block. */
typedef float edgec_sample_highest(const float *block, float top);

/* What the fork is given. It is written to: each part's findings to places of their own. */
EDGEC_INLINE edgec_sample_tops *edgec_sample_tops_of(const void *args) {
    return (edgec_sample_tops *)(uintptr_t)args;
}

/* A core's parts of logits [n]. */
EDGEC_INLINE void edgec_sample_parts(edgec_sample_tops *c, const float *logits, uint32_t n,
                                     edgec_sample_highest *highest, uint32_t core, uint32_t n_cores) {
    const uint32_t whole = EDGEC_SAMPLE_PARTS * EDGEC_SAMPLE_BLOCK;
    const uint32_t share = (n + whole - 1u) / whole * EDGEC_SAMPLE_BLOCK;
    const uint32_t last = n - EDGEC_SAMPLE_BLOCK; /* where a block may begin */
    EDGEC_UNROLL_1
    for (uint32_t j = core; j < EDGEC_SAMPLE_PARTS; j += n_cores) {
        uint32_t begin = j * share;
        const uint32_t end = begin + share;
        uint32_t best = begin < last ? begin : last;
        float top = logits[best];
        EDGEC_UNROLL_1
        do {
            const uint32_t at = begin < last ? begin : last;
            const float found = highest(logits + at, top);
            if (found > top) {
                top = found;
                best = at;
            }
            begin += EDGEC_SAMPLE_BLOCK;
        } while (begin < end);
        c->top[j] = top;
        c->begin[j] = best;
    }
}

/* Index of the largest logit, the lowest among equals, when all parts are done. */
EDGEC_INLINE uint32_t edgec_sample_first(const edgec_sample_tops *c, const float *logits) {
    float top = c->top[0];
    uint32_t best = c->begin[0];
    EDGEC_UNROLL_1
    for (uint32_t j = 1; j < EDGEC_SAMPLE_PARTS; j++) {
        if (c->top[j] > top) {
            top = c->top[j];
            best = c->begin[j];
        }
    }
    EDGEC_UNROLL_1
    while (logits[best] < top) {
        best++;
    }
    return best;
}

/* The same of logits [n], which are few. */
EDGEC_INLINE uint32_t edgec_sample_first_of_few(const float *logits, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return best;
}

#endif
