/* One row and head by one core, for cores with XpulpV2. */
#ifndef EDGEC_ATTENTION_ONE_XPULPV2_H
#define EDGEC_ATTENTION_ONE_XPULPV2_H

#include "attention.h"

#include "edgec_scores_xpulpv2.h"
#include "edgec_softmax_xpulpv2.h"
#include "edgec_values_xpulpv2.h"

/* p of one row and head, which has key/value head j and sees `length` positions, whose largest scale of values is `most`;
 * returns the factor of p . v. s, p: of one room. */
EDGEC_INLINE float edgec_weights(const edgec_attention_args *a, uint32_t unit, uint32_t j, uint32_t length,
                                 uint32_t most, float *s, uint8_t *p) {
    const uint32_t kv = a->n_kv_heads, d = a->head_dim;
    const edgec_keys keys = {(const uint8_t *)a->k + j * d, a->k_scale + j, kv * d, d, kv};
    const float top =
        edgec_score_row(8, a->q + (size_t)unit * d, keys, a->q_scale[unit] * a->factor, s, length);
    return edgec_softmax_row(s, p, a->v_scale + j, kv, length, 0, top, most);
}

/* y of one row and head. */
EDGEC_INLINE void edgec_attend(const edgec_attention_args *a, uint32_t unit, uint32_t j, uint32_t length,
                               uint32_t most, float *s, uint8_t *p) {
    const uint32_t kv = a->n_kv_heads, d = a->head_dim;
    const float factor = edgec_weights(a, unit, j, length, most, s, p);
    edgec_mix_head(p, a->v + j * d, kv * d, d, length, factor, a->y + (size_t)unit * d);
}

/* A core's rows and heads, one after the other. Rows of a head are neighbours: later ones see more, and every core has some
 * of them. */
EDGEC_COMPACT static void edgec_attention_heads(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_KNOWN(edgec_attention_args, a, args);
    const edgec_range mine = edgec_share(a->m * a->n_heads, core, n_cores);
    uint32_t head = 0, row = mine.begin;
    EDGEC_UNROLL_1
    for (; row >= a->m; row -= a->m) { /* few as a rule: shorter than a division */
        head++;
    }
    /* Whether a core's heads are pairs of neighbours with scales of their own, which are then found together. */
    const int pairs = a->m == 1u && a->n_kv_heads == a->n_heads && a->n_heads % 2u == 0 &&
                      edgec_share(a->n_heads, 0, n_cores).end % 2u == 0;
    uint32_t most = 0;
    for (uint32_t left = mine.end - mine.begin; left > 0; left--) {
        EDGEC_ANEW(a); /* what a head needs is computed for it, not kept in memory from head to head */
        const uint32_t j = a->n_kv_heads == a->n_heads ? head : head * a->n_kv_heads / a->n_heads;
        const uint32_t length = a->pos + row + 1u;
        if (!pairs) {
            most = edgec_most_scale(a->v_scale + j, a->n_kv_heads, length, 0);
        } else if (left % 2u == 0) {
            most = edgec_most_scales(a->v_scale + j, a->n_kv_heads, length);
        } else {
            most >>= 16;
        }
        edgec_attend(a, row * a->n_heads + head, j, length, most & 0xFFFFu, a->s + core * a->lds,
                     a->p + core * a->lds);
        if (++row == a->m) {
            row = 0;
            head++;
        }
    }
}

#endif
