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

#endif
