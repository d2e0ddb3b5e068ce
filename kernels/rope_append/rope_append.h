/* rope_append: queries and keys of new tokens rotated as rope does, then queries quantised as quantize_dynamic does, a head
 * being a group, and keys and values as kv_quantize does.
 *
 * Queries and keys are rotated where they are in x, which is used up. The table's rows are those of the m positions. head_dim
 * is even.
 *
 * Directed: forks rows; or of fewer than eight one after the other a team, first for angles of all heads, then for heads.
 */
#ifndef EDGEC_ROPE_APPEND_H
#define EDGEC_ROPE_APPEND_H

#include "edgec_kernel.h"

typedef struct {
    float *x;             /* [m][n_heads + n_kv_heads + n_kv_heads][head_dim]: queries, keys, values */
    const int16_t *table; /* [m][head_dim]: half cosines, half sines */
    const float *shift;   /* [n_kv_heads][head_dim], what keys are quantised less, or NULL */
    int8_t *q;            /* [m][n_heads][head_dim] */
    float *q_scale;       /* [m][n_heads] */
    int8_t *k_q;          /* [m][n_kv_heads][head_dim] */
    uint16_t *k_scale;    /* [m][n_kv_heads], binary16 */
    int8_t *v_q;          /* [m][n_kv_heads][head_dim] */
    uint16_t *v_scale;    /* [m][n_kv_heads], binary16 */
    uint32_t m;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    float unit;
} edgec_rope_append_args;

/* core is 0 and n_cores 1: the forks inside are the HAL's. */
void edgec_rope_append(const edgec_rope_append_args *a, uint32_t core, uint32_t n_cores);

#endif
