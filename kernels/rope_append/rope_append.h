/* rope_append: queries and keys of new tokens rotated as rope does, keys and values quantised as kv_quantize does.
 *
 * Keys are rotated where they are in x, which is used up. The table's rows are those of the m positions. head_dim is even.
 *
 * Directed: forks rows; or of fewer than eight one after the other a team, first for angles of all heads, then for heads of
 * keys and values.
 */
#ifndef EDGEC_ROPE_APPEND_H
#define EDGEC_ROPE_APPEND_H

#include "edgec_kernel.h"

typedef struct {
    float *x;             /* [m][n_heads + n_kv_heads + n_kv_heads][head_dim]: queries, keys, values */
    const int16_t *table; /* [m][head_dim]: half cosines, half sines */
    const float *shift;   /* [n_kv_heads][head_dim], what keys are quantised less, or NULL */
    float *y;             /* [m][n_heads][head_dim]: the queries, rotated */
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
