/* One row whose heads do not fill the cores, or not evenly, in phases: the cores share tiles of 4 positions. They work as a
 * team (edgec_fork.h), so that a phase costs no more than a barrier.
 *
 *     phase     what a core has an even share of           what it leaves in `found`
 *     queries   heads                                      each head's factor of scores
 *     scores    tiles of all keys, for the heads that      each head's largest score there, and the largest scale of
 *               share them                                 its values
 *     weights   the same                                   each head's sum of e there
 *     values    tiles of all words of four elements, for
 *               the heads that share them
 *     ends      the words of which it had the first tile
 *
 * Maxima and sums of integers do not depend on the cut, so the bits are those of whole heads, and a ninth head on eight
 * cores does not take as long as the other eight. Three heads of the same keys go together (edgec_trio_xpulpv2.h).
 */
#ifndef EDGEC_ATTENTION_SPLIT_XPULPV2_H
#define EDGEC_ATTENTION_SPLIT_XPULPV2_H

#include "attention_one_xpulpv2.h"

#include "edgec_fork.h"
#include "edgec_scores_xpulpv2.h"
#include "edgec_softmax_xpulpv2.h"
#include "edgec_trio_weights_xpulpv2.h"
#include "edgec_trio_xpulpv2.h"
#include "edgec_values_xpulpv2.h"

/* Numbers of a head and core in found [4][rooms][cores]; scales have their key/value head's. The factor of scores has
 * place 0 of its head. */
enum { EDGEC_FOUND_FACTOR, EDGEC_FOUND_SCORE, EDGEC_FOUND_SUM, EDGEC_FOUND_SCALE };

EDGEC_INLINE float *edgec_found(const edgec_attention_args *a, uint32_t what, uint32_t head) {
    return a->found + (what * a->rooms + head) * a->cores;
}

/* What of `mine`, tiles of all key/value heads from this one on, is this one's; the rest remains, from the next one on. */
EDGEC_INLINE edgec_range edgec_split_next(edgec_range *mine, uint32_t tiles) {
    const edgec_range part = {edgec_p_minu(mine->begin, tiles), edgec_p_minu(mine->end, tiles)};
    mine->begin -= part.begin;
    mine->end -= part.end;
    return part;
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
        edgec_found(a, EDGEC_FOUND_SCALE, j)[core] = edgec_f16_to_f32((uint16_t)most);
        EDGEC_UNROLL_1
        for (uint32_t left = group; left > 0;) {
            const int8_t *q = a->q8 + head * d;
            const float *factor = edgec_found(a, EDGEC_FOUND_FACTOR, head);
            float *s = a->s + head * a->lds + begin;
            uint32_t done = 1;
            if (end <= begin) {
                *top = edgec_float(0xFF800000u); /* minus infinity */
            } else if (left >= 3u && edgec_score_trio(&trio, q, &keys, factor, s, end - begin, end - begin,
                                                      top, a->cores)) {
                done = 3;
            } else {
                *top = edgec_split_row(q, &keys, *factor, s, end - begin);
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
            ratio = edgec_ratio_of(edgec_top_score(edgec_found(a, EDGEC_FOUND_SCALE, j), n_cores));
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
            }
            head += heads;
            left -= heads;
        }
    }
}

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

/* Whether cores share a row's heads: where the plan has room for that. */
EDGEC_INLINE int edgec_splits(const edgec_attention_args *a) {
    return a->found && a->m == 1u && a->head_dim % 4u == 0;
}

/* With few positions a core has whole heads, which is the shortest code, but for the values: their words are many, so that
 * no core has one more than it must. */
static void edgec_attention_words(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_KNOWN(edgec_attention_args, a, args);
    const uint32_t d = a->head_dim, kv = a->n_kv_heads, words = d / 4u, group = a->n_heads / kv;
    const uint32_t length = a->pos + 1u;
    const edgec_range heads = edgec_share(a->n_heads, core, n_cores);
    uint32_t first = heads.begin, j = 0;
    EDGEC_UNROLL_1
    for (; first >= group; first -= group) { /* few as a rule: shorter than a division */
        j++;
    }
    for (uint32_t head = heads.begin; head < heads.end; head++) {
        *edgec_found(a, EDGEC_FOUND_FACTOR, head) =
            edgec_weights(a, head, j, length, edgec_most_scale(a->v_scale + j, kv, length, 0),
                          a->q8 + head * d, a->s + head * a->lds, a->p + head * a->lds);
        if (++first == group) {
            first = 0;
            j++;
        }
    }
    hal_barrier();
    const edgec_range mine = edgec_share(a->n_heads * words, core, n_cores);
    uint32_t head = 0, word = mine.begin;
    first = j = 0;
    EDGEC_UNROLL_1
    for (; word >= words; word -= words) {
        head++;
        if (++first == group) {
            first = 0;
            j++;
        }
    }
    for (uint32_t left = mine.end - mine.begin; left > 0; left--) {
        edgec_mix_head(a->p + head * a->lds, a->v + j * d + 4u * word, kv * d, 4, length,
                       *edgec_found(a, EDGEC_FOUND_FACTOR, head), a->y + head * d + 4u * word);
        if (++word == words) {
            word = 0;
            head++;
            if (++first == group) {
                first = 0;
                j++;
            }
        }
    }
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
    const edgec_split_words words = edgec_split_words_of(a, core, n_cores);
    edgec_split_values(a, words, core);
    hal_barrier();
    edgec_split_ends(a, words, core, n_cores);
}

/* In phases from so many positions on (split_from in edgec/ops/attention.py): earlier where three heads share keys. */
EDGEC_INLINE void edgec_attention_split(const edgec_attention_args *a, const edgec_attention_args *args) {
    const uint32_t each = a->n_heads >= 3u * a->n_kv_heads ? 6u : 10u;
    hal_fork_team(a->pos < each * a->cores ? edgec_attention_words : edgec_attention_phases, args);
}

#endif
