/* The values of one row in two phases (attention_split_xpulpv2.h): sums over tiles, then the numbers that they end as. */
#ifndef EDGEC_ATTENTION_VALUES_XPULPV2_H
#define EDGEC_ATTENTION_VALUES_XPULPV2_H

#include "attention_found_xpulpv2.h"

#include "edgec_scores_xpulpv2.h"
#include "edgec_softmax_xpulpv2.h"
#include "edgec_trio_xpulpv2.h"
#include "edgec_values_xpulpv2.h"

/* What a core has of the values: tiles of all words of four elements, one word behind the other. Words are not cut where
 * there are too few positions for that. */
typedef struct {
    uint32_t each;  /* tiles of a word, or 1 */
    uint32_t share; /* of a core */
    uint32_t first; /* the core's first one within its word */
    uint32_t count;
    uint32_t j; /* the word: its key/value head, and its element there */
    uint32_t i;
} edgec_split_words;

EDGEC_INLINE edgec_split_words edgec_split_words_of(const edgec_attention_args *a, uint32_t core,
                                                    uint32_t n_cores) {
    const uint32_t words = a->head_dim / 4u, tiles = (a->pos + 1u) / 4u;
    const uint32_t each = a->lds >= 4u * n_cores ? edgec_p_maxu(tiles, 1) : 1u;
    const uint32_t total = a->n_kv_heads * words * each, share = edgec_share(total, 0, n_cores).end;
    const edgec_range mine = edgec_share(total, core, n_cores);
    const uint32_t word = mine.begin / each, j = word / words;
    return (edgec_split_words){
        each, share, mine.begin - word * each, mine.end - mine.begin, j, 4u * (word - j * words)};
}

/* The next word. */
EDGEC_INLINE void edgec_split_step(const edgec_attention_args *a, edgec_split_words *of) {
    of->first = 0;
    of->i += 4u;
    if (of->i == a->head_dim) {
        of->i = 0;
        of->j++;
    }
}

/* Sums of p . v over whole tiles of four positions, of each part of a word: of one that has the word's first tile they go
 * to y as they are, of another one to the core's place in s. */
EDGEC_INLINE void edgec_split_values(const edgec_attention_args *a, edgec_split_words of, uint32_t core) {
    const uint32_t d = a->head_dim, kv = a->n_kv_heads, group = a->n_heads / kv, tiles = (a->pos + 1u) / 4u;
    while (of.count > 0) {
        EDGEC_ANEW(a);
        const uint32_t count = edgec_p_minu(of.each - of.first, of.count), head = of.j * group;
        const uint32_t at = 4u * of.first; /* positions before the part */
        const edgec_values values = {a->v + (at * kv + of.j) * d + of.i, kv * d, 4,
                                     4u * (of.each == 1u ? tiles : count)};
        const uint8_t *p = a->p + head * a->lds + at;
        int32_t *sums = (int32_t *)(void *)(a->y + head * d + of.i);
        uint32_t next = d; /* from one head's sums to the next one's */
        if (at > 0) {
            sums = (int32_t *)(void *)(a->s + head * a->lds + 4u * core);
            next = a->lds;
        }
        for (uint32_t heads = group; heads > 0;) {
            uint32_t done = 1;
            if (heads >= 3u && heads != 4u && values.count > 0) {
                done = 3;
                edgec_mix_trio(p, a->lds, &values, sums, next);
            } else {
                done = heads > 1u ? 2u : 1u;
                EDGEC_UNROLL_1
                for (uint32_t h = 0; h < done; h++) {
                    int32_t *acc = sums + h * next;
                    acc[0] = acc[1] = acc[2] = acc[3] = 0;
                }
                if (done == 2u && values.count > 0) {
                    edgec_mix_two(p, p + a->lds, values.v, values.stride, values.count, sums, sums + next);
                } else if (values.count > 0) {
                    edgec_mix_word(p, values.v, values.stride, values.count, sums);
                }
            }
            p += done * a->lds;
            sums += done * next;
            heads -= done;
        }
        of.count -= count;
        edgec_split_step(a, &of);
    }
}

/* Sums that wait where a number is to be, or was. */
EDGEC_INLINE edgec_mixed edgec_mixed_at(const float *at) {
    return (edgec_mixed){(int32_t)edgec_bits(at[0]), (int32_t)edgec_bits(at[1]), (int32_t)edgec_bits(at[2]),
                         (int32_t)edgec_bits(at[3])};
}

/* The factors of p . v of the heads of a key/value head, each to this core's place: it needs few. */
EDGEC_INLINE void edgec_split_factors(const edgec_attention_args *a, uint32_t j, uint32_t core,
                                      uint32_t n_cores) {
    const uint32_t group = a->n_heads / a->n_kv_heads;
    const float most = edgec_top_score(edgec_found(a, EDGEC_FOUND_SCALE, j), n_cores);
    EDGEC_UNROLL_1
    for (uint32_t head = j * group; head < (j + 1u) * group; head++) {
        const float total = edgec_total(edgec_found(a, EDGEC_FOUND_SUM, head), n_cores);
        edgec_found(a, EDGEC_FOUND_FACTOR, head)[core] = edgec_values_factor(most, total);
    }
}

/* y of the words of which the core had the first tile: what other cores have of the last one, and the positions behind
 * the last whole tile, come to their sums. */
EDGEC_INLINE void edgec_split_ends(const edgec_attention_args *a, edgec_split_words of, uint32_t core,
                                   uint32_t n_cores) {
    const uint32_t d = a->head_dim, kv = a->n_kv_heads, group = a->n_heads / kv;
    const uint32_t length = a->pos + 1u, rest = length % 4u, whole = length - rest;
    int32_t left = (int32_t)of.count;
    if (of.first > 0) {
        left -= (int32_t)(of.each - of.first);
        edgec_split_step(a, &of);
    }
    for (uint32_t j = kv; left > 0; left -= (int32_t)of.each) {
        EDGEC_ANEW(a);
        if (j != of.j) {
            j = of.j;
            edgec_split_factors(a, j, core, n_cores);
        }
        float *y = a->y + j * group * d + of.i;
        const float *part = a->s + j * group * a->lds + 4u * core;
        const float *factor = edgec_found(a, EDGEC_FOUND_FACTOR, j * group) + core;
        const uint8_t *p = a->p + j * group * a->lds + whole;
        EDGEC_UNROLL_1
        for (uint32_t heads = group; heads > 0; heads--) {
            edgec_mixed sum = edgec_mixed_at(y);
            const float *more = part;
            EDGEC_UNROLL_1
            for (int32_t had = left; EDGEC_SELDOM(had < (int32_t)of.each); had += (int32_t)of.share) {
                more += 4;
                const edgec_mixed next = edgec_mixed_at(more);
                sum.a0 += next.a0, sum.a1 += next.a1, sum.a2 += next.a2, sum.a3 += next.a3;
            }
            if (rest) {
                sum = edgec_mix_four(p, a->v + (whole * kv + j) * d + of.i, kv * d, rest, sum);
            }
            y[0] = (float)sum.a0 * *factor;
            y[1] = (float)sum.a1 * *factor;
            y[2] = (float)sum.a2 * *factor;
            y[3] = (float)sum.a3 * *factor;
            y += d;
            part += a->lds;
            factor += a->cores;
            p += a->lds;
        }
        edgec_split_step(a, &of);
    }
}

#endif
