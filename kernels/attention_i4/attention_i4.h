/* attention_i4: the kernels of attention that read the cache, for one of 4 bits; softmax and finish are attention's.
 *
 * The cache is kv_append_i4's: u in 1 .. 15 stands for u - 8, and elements i and i + head_dim/2 of a head share byte i,
 * the first in its low half. Sums are those over u - 8, as sum(u q) - 8 sum(q) and sum(p u) - 8 sum(p): the bits of
 * attention over the same integers. Everything else is as in attention.h.
 */
#ifndef EDGEC_ATTENTION_I4_H
#define EDGEC_ATTENTION_I4_H

#include "edgec_kernel.h"

/* s[t] = float32(q . (k[t] - 8)) * ((q_scale * factor) * k_scale[t]) */
typedef struct {
    const int8_t *q;         /* [m][n_heads][head_dim] */
    const float *q_scale;    /* [m][n_heads] */
    const uint8_t *k;        /* [count][n_kv_heads][head_dim / 2], the tile */
    const uint16_t *k_scale; /* [count][n_kv_heads], binary16 */
    float *s;                /* [m][n_heads][lds] */
    uint32_t m;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t first;
    uint32_t count;
    uint32_t lds;
    float factor;
} edgec_attention_scores_i4_args;

void edgec_attention_scores_i4(const edgec_attention_scores_i4_args *a, uint32_t core, uint32_t n_cores);

/* acc += p[t] * (v[t] - 8). A tile with first = 0 starts the accumulators, every other one adds to them. */
typedef struct {
    const uint8_t *p; /* [m][n_heads][lds] */
    const uint8_t *v; /* [count][n_kv_heads][head_dim / 2], the tile */
    int32_t *acc;     /* [m][n_heads][head_dim] */
    uint32_t m;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t first;
    uint32_t count;
    uint32_t lds;
} edgec_attention_values_i4_args;

void edgec_attention_values_i4(const edgec_attention_values_i4_args *a, uint32_t core, uint32_t n_cores);

#endif
