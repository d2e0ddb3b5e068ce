/* attention_neureka: attention.h's whole attention of one row, whose scores N-EUREKA multiplies where that is faster.
 *
 * For the engine the keys are an image, each position a pixel whose channels are the elements of all key/value heads, and
 * the queries are the weights of a 1x1 convolution, a query head being an output channel that is zero but where its
 * key/value head is. So one job gives the integer scores of all heads and positions, from the keys as they lie.
 *
 * Directed: core 0 calls it alone. lines and sums are room to work in as s, p, r and found are; positions beyond the last one
 * get no sums. head_dim is a multiple of 4, m is 1, and found is given. line = ceil(n_kv_heads * head_dim / 32) * 32 bytes,
 * row = ceil(n_heads / 8) * 8.
 */
#ifndef EDGEC_ATTENTION_NEUREKA_H
#define EDGEC_ATTENTION_NEUREKA_H

#include "edgec_kernel.h"

typedef struct {
    const int8_t *q;         /* [m][n_heads][head_dim] */
    const float *q_scale;    /* [m][n_heads] */
    const int8_t *k;         /* [pos + m][n_kv_heads][head_dim] */
    const uint16_t *k_scale; /* [pos + m][n_kv_heads], binary16 */
    const int8_t *v;         /* [pos + m][n_kv_heads][head_dim] */
    const uint16_t *v_scale; /* [pos + m][n_kv_heads], binary16 */
    float *s;                /* [rooms][lds] */
    uint8_t *p;              /* [rooms][lds] */
    uint16_t *r;             /* [cores][lds], or NULL where lanes is 1 */
    float *found;            /* [4][rooms][cores] */
    float *y;                /* [m][n_heads][head_dim] */
    uint32_t m;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t pos;
    uint32_t lds;
    uint32_t cores;
    uint32_t lanes;
    uint32_t rooms;
    float factor;
    uint8_t *lines; /* [n_heads + 1][line]: encoded queries, and room to align them */
    int32_t *sums;  /* [pos + m][row]: a position's scores */
} edgec_attention_neureka_args;

void edgec_attention_neureka(const edgec_attention_neureka_args *a, uint32_t core, uint32_t n_cores);

#endif
