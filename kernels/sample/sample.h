/* sample: the next token from logits: greedy, or temperature with top-k and top-p, in integers.
 *
 * Temperature 0 (or less) takes the largest logit, the lowest index among equals, and leaves the generator
 * alone. Otherwise
 *
 *     i[n] = rint(max((logit[n] - max logit) * ((log2(e) / temperature) * 4096), -65536))
 *     e[n] = exp2_q15(i[n])                                        weight in 0 .. 32768
 *
 * Candidates in order of (e descending, index ascending): the first top_k of them (0: all), and of those the
 * shortest prefix whose weight reaches top_p of theirs. A 32-bit draw r then takes the first candidate, in
 * index order, whose cumulative weight exceeds (r * total) >> 32.
 *
 * Weights are computed again in every pass over the logits instead of stored, and the prefix is found with
 * histograms of 33 bins: no memory grows with the vocabulary.
 * The generator is PCG32 (O'Neill 2014, XSH-RR).
 *
 * Directed: forks parts of the logits for their largest ones; all else is core 0's.
 */
#ifndef EDGEC_SAMPLE_H
#define EDGEC_SAMPLE_H

#include "edgec_kernel.h"

/* Places in params. */
enum {
    EDGEC_SAMPLE_TEMPERATURE = 0, /* bits of a float32 */
    EDGEC_SAMPLE_TOP_K = 1,
    EDGEC_SAMPLE_TOP_P = 2,     /* bits of a float32 */
    EDGEC_SAMPLE_STATE_LOW = 4, /* halves of the generator's 64-bit state; place 3 is unused */
    EDGEC_SAMPLE_STATE_HIGH = 5
};

typedef struct {
    const float *logits; /* [n], n >= 1 */
    int32_t *params;     /* [6] */
    int32_t *token;      /* [1] */
    uint32_t n;
} edgec_sample_args;

/* core is 0 and n_cores 1: the fork inside is the HAL's. */
void edgec_sample(const edgec_sample_args *a, uint32_t core, uint32_t n_cores);

/* The token at the temperature of params, which is above 0. best: index of the largest logit */
uint32_t edgec_sample_drawn(const edgec_sample_args *a, uint32_t best);

#endif
