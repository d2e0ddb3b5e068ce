/* One row whose heads do not fill the cores, or not evenly, in four phases: the cores share positions, or elements. They work
 * as a team (edgec_fork.h), so that a phase costs no more than a barrier.
 *
 *     phase     what a core has              what it leaves in `found`
 *     queries   some heads                   each head's factor of scores
 *     scores    some positions, all heads    each head's largest score there, and the largest scale of its values
 *     weights   the same                     the sum of e
 *     values    words of four elements,      the factor of p . v
 *               of all heads that share them
 *
 * Maxima and sums of integers do not depend on the cut, so the bits are those of whole heads, and a ninth head on eight
 * cores does not take as long as the other eight. Three heads of the same keys go together (edgec_trio_xpulpv2.h).
 */
#ifndef EDGEC_ATTENTION_SPLIT_XPULPV2_H
#define EDGEC_ATTENTION_SPLIT_XPULPV2_H

#include "attention.h"

#include "edgec_fork.h"
#include "edgec_scores_xpulpv2.h"
#include "edgec_softmax_xpulpv2.h"
#include "edgec_trio_xpulpv2.h"
#include "edgec_values_xpulpv2.h"

/* Numbers of a head and core in found [4][rooms][cores]; scales have their key/value head's. The factor of scores has
 * place 0 of its head. */
enum { EDGEC_FOUND_FACTOR, EDGEC_FOUND_SCORE, EDGEC_FOUND_SUM, EDGEC_FOUND_SCALE };

EDGEC_INLINE float *edgec_found(const edgec_attention_args *a, uint32_t what, uint32_t head) {
    return a->found + (what * a->rooms + head) * a->cores;
}

/* Positions of a core: whole tiles of 4, as evenly as they can be. */
EDGEC_INLINE edgec_range edgec_positions(const edgec_attention_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t length = a->pos + 1u;
    const edgec_range tiles = edgec_share((length + 3u) / 4u, core, n_cores);
    return (edgec_range){edgec_p_minu(4u * tiles.begin, length), edgec_p_minu(4u * tiles.end, length)};
}

EDGEC_INLINE void edgec_split_queries(const edgec_attention_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t d = a->head_dim;
    const edgec_range mine = edgec_share(a->n_heads, core, n_cores);
    for (uint32_t head = mine.begin; head < mine.end; head++) {
        const float *q = a->q + head * d; /* [head_dim] */
        int32_t sum;
        const float scale = edgec_quantize_under(edgec_top(q, d, 0.0f), q, a->q8 + head * d, d, &sum);
        *edgec_found(a, EDGEC_FOUND_FACTOR, head) = scale * a->factor;
    }
}

EDGEC_INLINE void edgec_split_scores(const edgec_attention_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t d = a->head_dim, kv = a->n_kv_heads;
    edgec_range mine = edgec_positions(a, core, n_cores);
    if (EDGEC_SELDOM(mine.end - mine.begin - 1u < 3u)) {
        mine.begin =
            mine.end < 4u ? 0u : mine.end - 4u; /* a whole tile: some positions that another core has too */
    }
    const uint32_t group = a->n_heads / kv;
    const edgec_keys keys = {(const uint8_t *)a->k + (size_t)mine.begin * kv * d,
                             a->k_scale + mine.begin * kv, kv * d, d, kv};
    edgec_keys of_head = keys;
    uint32_t left = group; /* heads with the same keys */
    for (uint32_t head = 0; head < a->n_heads;) {
        const uint32_t count = mine.end - mine.begin;
        const int8_t *q = a->q8 + head * d;
        const float *factor = edgec_found(a, EDGEC_FOUND_FACTOR, head);
        float *s = a->s + head * a->lds + mine.begin, *top = edgec_found(a, EDGEC_FOUND_SCORE, head) + core;
        uint32_t heads = 1;
        if (left >= 3u && edgec_score_trio(q, &of_head, factor, s, a->lds, count, count, top, a->cores)) {
            heads = 3;
        } else {
            *top = count > 0 ? edgec_score_row(8, q, of_head, *factor, s, count)
                             : edgec_float(0xFF800000u); /* minus infinity */
        }
        head += heads;
        left -= heads;
        if (left == 0) {
            const uint32_t j = (uint32_t)(of_head.k_scale - keys.k_scale);
            const uint32_t most = edgec_most_scale(a->v_scale + mine.begin * kv + j, kv, count, 0);
            edgec_found(a, EDGEC_FOUND_SCALE, j)[core] = edgec_f16_to_f32((uint16_t)most);
            left = group;
            of_head.k += d;
            of_head.k_scale++;
        }
    }
}

EDGEC_INLINE void edgec_split_weights(const edgec_attention_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t kv = a->n_kv_heads;
    const edgec_range mine = edgec_positions(a, core, n_cores);
    const uint16_t *v_scale = a->v_scale + mine.begin * kv;
    const uint32_t group = a->n_heads / kv;
    uint32_t head = 0;
    for (uint32_t j = 0; j < kv; j++) {
        const float most = edgec_top_score(edgec_found(a, EDGEC_FOUND_SCALE, j), n_cores);
        const float ratio = edgec_ratio_of(most);
        for (const uint32_t end = head + group; head < end; head++) {
            const float top = edgec_top_score(edgec_found(a, EDGEC_FOUND_SCORE, head), n_cores);
            const size_t at = (size_t)head * a->lds + mine.begin;
            uint32_t total = 0;
            if (mine.end > mine.begin) {
                total = edgec_weigh_row(a->s + at, a->p + at, v_scale, kv, mine.end - mine.begin, top, ratio);
            }
            edgec_found(a, EDGEC_FOUND_SUM, head)[core] = (float)(int32_t)total;
        }
        v_scale++;
    }
}

/* The factors of p . v of `count` heads of key/value head j from `head` on, each to this core's place: it needs few. */
EDGEC_INLINE void edgec_split_factors(const edgec_attention_args *a, uint32_t j, uint32_t head,
                                      uint32_t count, uint32_t core, uint32_t n_cores) {
    const float most = edgec_top_score(edgec_found(a, EDGEC_FOUND_SCALE, j), n_cores);
    for (; count > 0; count--) {
        const float *sums = edgec_found(a, EDGEC_FOUND_SUM, head);
        float total = *sums;
        EDGEC_UNROLL_1
        for (uint32_t other = 1; other < n_cores; other++) {
            total += *++sums; /* exact: integers below 2^24 */
        }
        edgec_found(a, EDGEC_FOUND_FACTOR, head)[core] = edgec_values_factor(most, total);
        head++;
    }
}

EDGEC_INLINE void edgec_split_values(const edgec_attention_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t d = a->head_dim, kv = a->n_kv_heads, words = (d + 3u) / 4u, group = a->n_heads / kv;
    const edgec_range mine = edgec_share(kv * words, core, n_cores);
    uint32_t j = mine.begin / words, i = (mine.begin - j * words) * 4u;
    for (uint32_t part = mine.begin; part < mine.end; part++) {
        EDGEC_ANEW(a);
        const edgec_values values = {a->v + j * d + i, kv * d, edgec_p_minu(d - i, 4u), a->pos + 1u};
        const uint32_t end = (j + 1u) * group;
        if (i == 0 || part == mine.begin) {
            edgec_split_factors(a, j, j * group, group, core, n_cores);
        }
        for (uint32_t head = j * group; head < end;) {
            const uint8_t *p = a->p + (size_t)head * a->lds;
            const float *factor = edgec_found(a, EDGEC_FOUND_FACTOR, head) + core;
            float *y = a->y + head * d + i;
            uint32_t heads = end - head;
            if (heads >= 3u && heads != 4u && values.width == 4u) {
                heads = 3;
                edgec_trio_values sums;
                edgec_mix_trio(&sums, p, a->lds, &values);
                EDGEC_UNROLL_1
                for (uint32_t h = 0; h < 3u; h++) {
                    edgec_finish_row(sums.acc + 4u * h, y + h * d, 4, factor[h * a->cores]);
                }
            } else {
                heads = heads > 1u ? 2u : 1u;
                edgec_mix_heads(heads - 1u, p, a->lds, &values, factor, a->cores, y, d);
            }
            head += heads;
        }
        i += 4u;
        if (i >= d) {
            i = 0;
            j++;
        }
    }
}

/* Whether phases pay (split_from in edgec/ops/attention.py): where the plan has room for them, from 8 positions a core on,
 * or from 7 where three heads share keys. */
EDGEC_INLINE int edgec_splits(const edgec_attention_args *a) {
    const uint32_t each = a->n_heads >= 3u * a->n_kv_heads ? 7u : 8u;
    return a->found && a->m == 1u && a->pos >= each * a->cores;
}

static void edgec_attention_phases(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_KNOWN(edgec_attention_args, a, args);
    edgec_split_queries(a, core, n_cores);
    hal_barrier();
    edgec_split_scores(a, core, n_cores);
    hal_barrier();
    edgec_split_weights(a, core, n_cores);
    hal_barrier();
    edgec_split_values(a, core, n_cores);
}

EDGEC_INLINE void edgec_attention_split(const edgec_attention_args *a) {
    hal_fork_team(edgec_attention_phases, a);
}

#endif
