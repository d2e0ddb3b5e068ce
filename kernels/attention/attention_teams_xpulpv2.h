/* One row at few positions, whose heads do not fill the cores, or not evenly: a core has whole heads, one after the other,
 * and each head that is left over has a team of cores. A team shares the head's positions, and then its values' words of
 * four elements:
 *
 *     step      what a core does of its team's head       what it leaves in `found`
 *     scores    those of its positions                    the largest score, the largest scale of the values
 *     weights   those of its positions                    their sum of e
 *     values    its words
 *
 * Whole heads and a team's go through the same loop, whose code is fetched once.
 */
#ifndef EDGEC_ATTENTION_TEAMS_XPULPV2_H
#define EDGEC_ATTENTION_TEAMS_XPULPV2_H

#include "attention_found_xpulpv2.h"
#include "attention_one_xpulpv2.h"

#include "edgec_fork.h"

/* The largest score and the largest scale of values of some positions. */
typedef struct {
    float top;
    float most;
} edgec_tops;

/* s of positions begin .. end - 1 of a head, with or without some before. args: edgec_attention_args, whose addresses are
 * loaded where they are used, as there are more than registers. */
EDGEC_INLINE edgec_tops edgec_teams_scores(const void *args, uint32_t head, edgec_range of) {
    EDGEC_KNOWN(edgec_attention_args, a, args);
    const uint32_t d = a->head_dim, kv = a->n_kv_heads, j = head / (a->n_heads / kv);
    if (of.begin >= of.end) {
        return (edgec_tops){edgec_float(0xFF800000u), 0.0f}; /* minus infinity */
    }
    if (of.end - of.begin < 4u) { /* a whole tile, if there is one: another core has some of it too */
        of.begin = of.end - edgec_p_minu(of.end, 4);
    }
    const uint32_t at = of.begin * kv + j, count = of.end - of.begin;
    const edgec_keys keys = {(const uint8_t *)a->k + at * d, a->k_scale + at, kv * d, d, kv};
    const uint32_t most = edgec_most_scale(a->v_scale + at, kv, count, 0);
    return (edgec_tops){edgec_score_row(8, a->q + head * d, keys, a->q_scale[head] * a->factor,
                                        a->s + head * a->lds + of.begin, count),
                        edgec_f16_to_f32((uint16_t)most)};
}

/* p of positions begin .. end - 1; returns the sum of e. */
EDGEC_INLINE float edgec_teams_weights(const void *args, uint32_t head, edgec_range of, edgec_tops tops) {
    EDGEC_KNOWN(edgec_attention_args, a, args);
    const uint32_t kv = a->n_kv_heads, j = head / (a->n_heads / kv), at = head * a->lds + of.begin;
    if (of.begin >= of.end) {
        return 0.0f;
    }
    return (float)(int32_t)edgec_weigh_row(a->s + at, a->p + at, a->v_scale + of.begin * kv + j, kv,
                                           of.end - of.begin, tops.top, edgec_ratio_of(tops.most));
}

/* y of the head's words begin .. end - 1. */
EDGEC_INLINE void edgec_teams_values(const void *args, uint32_t head, edgec_range of, float factor) {
    EDGEC_KNOWN(edgec_attention_args, a, args);
    const uint32_t d = a->head_dim, kv = a->n_kv_heads, j = head / (a->n_heads / kv), i = 4u * of.begin;
    edgec_mix_head(a->p + head * a->lds, a->v + j * d + i, kv * d, 4u * (of.end - of.begin), a->pos + 1u,
                   factor, a->y + head * d + i);
}

EDGEC_COMPACT static void edgec_attention_teams(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_KNOWN(edgec_attention_args, a, args);
    const uint32_t each = a->n_heads / n_cores, left = a->n_heads - each * n_cores;
    const uint32_t cores = left > 0 ? n_cores / left : 1u; /* of a team */
    const uint32_t length = a->pos + 1u;
    EDGEC_UNROLL_1
    for (uint32_t nth = 0; nth < each + (left > 0); nth++) {
        EDGEC_ANEW(a);
        uint32_t head = core * each + nth, place = 0;
        edgec_range of = {0, length}, words = {0, a->head_dim / 4u};
        const int shared = nth == each;
        if (shared) {
            const uint32_t team = core / cores;
            if (EDGEC_SELDOM(team >= left)) { /* a core without a team */
                hal_barrier();
                hal_barrier();
                break;
            }
            head = n_cores * each + team;
            place = core - team * cores;
            of = edgec_share((length + 3u) / 4u, place, cores);
            of = (edgec_range){4u * of.begin, edgec_p_minu(4u * of.end, length)};
            words = edgec_share(a->head_dim / 4u, place, cores);
        }
        edgec_tops tops = edgec_teams_scores(args, head, of);
        if (shared) {
            float *all = edgec_found(a, EDGEC_FOUND_SCORE, head);
            float *scales = edgec_found(a, EDGEC_FOUND_SCALE, head);
            all[place] = tops.top;
            scales[place] = tops.most;
            hal_barrier();
            tops = (edgec_tops){edgec_top_score(all, cores), edgec_top_score(scales, cores)};
        }
        float total = edgec_teams_weights(args, head, of, tops);
        if (shared) {
            float *all = edgec_found(a, EDGEC_FOUND_SUM, head);
            all[place] = total;
            hal_barrier();
            total = edgec_total(all, cores);
        }
        edgec_teams_values(args, head, words, edgec_values_factor(tops.most, total));
    }
}

#endif
