/* One row at many positions, whose heads do not fill the cores, or not evenly: the cores share tiles of 4 positions. They
 * work as a team (edgec_fork.h), so that a phase costs no more than a barrier.
 *
 *     phase     what a core has an even share of           what it leaves in `found`
 *     scores    tiles of all keys, for the heads that      each head's largest score there, and the largest scale of
 *               share them                                 its values
 *     weights   the same                                   each head's sum of e there
 *     values    words of four elements, for the heads
 *               that share them (attention_values_xpulpv2.h)
 *
 * Maxima and sums of integers do not depend on the cut, so the bits are those of whole heads, and a ninth head on eight
 * cores does not take as long as the other eight. Three heads of the same keys go together (edgec_trio_xpulpv2.h).
 */
#ifndef EDGEC_ATTENTION_SPLIT_XPULPV2_H
#define EDGEC_ATTENTION_SPLIT_XPULPV2_H

#include "attention_found_xpulpv2.h"
#include "attention_values_xpulpv2.h"

#include "edgec_fork.h"
#include "edgec_scores_xpulpv2.h"
#include "edgec_softmax_xpulpv2.h"
#include "edgec_trio_weights_xpulpv2.h"
#include "edgec_trio_xpulpv2.h"
#include "edgec_values_xpulpv2.h"

/* What of `mine`, tiles of all key/value heads from this one on, is this one's; the rest remains, from the next one on. */
EDGEC_INLINE edgec_range edgec_split_next(edgec_range *mine, uint32_t tiles) {
    const edgec_range part = {edgec_p_minu(mine->begin, tiles), edgec_p_minu(mine->end, tiles)};
    mine->begin -= part.begin;
    mine->end -= part.end;
    return part;
}

/* Scores of one head, apart: three together are the rule. */
EDGEC_APART float edgec_split_row(const int8_t *q, const edgec_keys *keys, float factor, float *s,
                                  uint32_t count) {
    return edgec_score_row(8, q, *keys, factor, s, count);
}

EDGEC_INLINE void edgec_split_scores(const edgec_attention_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t d = a->head_dim, kv = a->n_kv_heads, group = a->n_heads / kv;
    const uint32_t length = a->pos + 1u, tiles = (length + 3u) / 4u;
    edgec_range mine = edgec_share(kv * tiles, core, n_cores);
    edgec_keys keys = {(const uint8_t *)a->k, a->k_scale, kv * d, d, kv};
    edgec_trio_scores trio;
    edgec_score_trio_of(&trio, &keys, a->lds);
    EDGEC_UNROLL_1
    for (uint32_t head = 0, j = 0; j < kv; j++) {
        EDGEC_ANEW(a);
        const edgec_range part = edgec_split_next(&mine, tiles);
        uint32_t begin = 4u * part.begin, end = edgec_p_minu(4u * part.end, length), most = 0;
        float *top = edgec_found(a, EDGEC_FOUND_SCORE, head) + core;
        if (end > begin) {
            if (EDGEC_SELDOM(end - begin < 4u)) {
                begin = end < 4u ? 0u : end - 4u; /* a whole tile: some positions that another core has too */
            }
            const uint32_t at = begin * kv + j;
            most = edgec_most_scale(a->v_scale + at, kv, end - begin, 0);
            keys.k = (const uint8_t *)a->k + at * d;
            keys.k_scale = a->k_scale + at;
        }
        edgec_found(a, EDGEC_FOUND_SCALE, head)[core] = edgec_f16_to_f32((uint16_t)most);
        EDGEC_UNROLL_1
        for (uint32_t left = group; left > 0;) {
            const int8_t *q = a->q + head * d;
            const float *scale = a->q_scale + head;
            float *s = a->s + head * a->lds + begin;
            uint32_t done = 1;
            if (end <= begin) {
                *top = edgec_float(0xFF800000u); /* minus infinity */
            } else if (left >= 3u && edgec_score_trio(&trio, q, &keys, scale, a->factor, s, end - begin,
                                                      end - begin, top, a->cores)) {
                done = 3;
            } else {
                *top = edgec_split_row(q, &keys, *scale * a->factor, s, end - begin);
            }
            top += done * a->cores;
            head += done;
            left -= done;
        }
    }
}

EDGEC_INLINE void edgec_split_weights(const edgec_attention_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t kv = a->n_kv_heads, group = a->n_heads / kv;
    const uint32_t length = a->pos + 1u, tiles = (length + 3u) / 4u;
    edgec_range mine = edgec_share(kv * tiles, core, n_cores);
    EDGEC_UNROLL_1
    for (uint32_t j = 0; j < kv; j++) {
        EDGEC_ANEW(a);
        const edgec_range part = edgec_split_next(&mine, tiles);
        const uint32_t begin = 4u * part.begin, end = edgec_p_minu(4u * part.end, length);
        const uint16_t *v_scale = a->v_scale + begin * kv + j;
        float ratio = 0.0f;
        if (end > begin) {
            ratio = edgec_ratio_of(edgec_top_score(edgec_found(a, EDGEC_FOUND_SCALE, j * group), n_cores));
        }
        EDGEC_UNROLL_1
        for (uint32_t head = j * group, left = group; left > 0;) {
            const uint32_t heads = left >= 3u ? 3u : 1u;
            float *s = a->s + (size_t)head * a->lds + begin,
                  *sum = edgec_found(a, EDGEC_FOUND_SUM, head) + core;
            const float *found = edgec_found(a, EDGEC_FOUND_SCORE, head);
            uint8_t *p = a->p + (size_t)head * a->lds + begin;
            uint32_t total[3] = {0, 0, 0};
            if (end > begin) {
                float top[3];
                EDGEC_UNROLL_1
                for (uint32_t h = 0; h < heads; h++) {
                    top[h] = edgec_top_score(found, n_cores);
                    found += a->cores;
                }
                if (heads == 3u) {
                    edgec_weigh_trio(s, p, a->lds, v_scale, kv, end - begin, top, ratio, total);
                } else {
                    total[0] = edgec_weigh_row(s, p, v_scale, kv, end - begin, top[0], ratio);
                }
            }
            EDGEC_UNROLL_1
            for (uint32_t h = 0; h < heads; h++) {
                *sum = (float)(int32_t)total[h];
                sum += a->cores;
                if (begin < end && end == length) {
                    edgec_weights_end(a->p + (head + h) * a->lds, length);
                }
            }
            head += heads;
            left -= heads;
        }
    }
}

#endif
