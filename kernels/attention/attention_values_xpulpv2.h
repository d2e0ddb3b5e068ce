/* The values of one row whose weights are there: cores have words of four elements of the key/value heads, each for all
 * the heads that share them, whose values are then transposed once.
 */
#ifndef EDGEC_ATTENTION_VALUES_XPULPV2_H
#define EDGEC_ATTENTION_VALUES_XPULPV2_H

#include "attention_found_xpulpv2.h"

#include "edgec_scores_xpulpv2.h"
#include "edgec_softmax_xpulpv2.h"
#include "edgec_trio_words_xpulpv2.h"
#include "edgec_values_xpulpv2.h"

/* Where the factors of p . v come from. */
typedef struct {
    uint32_t ready;    /* heads before this one have theirs in `found` */
    uint32_t parts;    /* of the others' sums and scales there */
    uint32_t together; /* heads in a row whose scales are the first one's */
} edgec_shares;

/* The factor of a head of which `parts` sums and scales are there. */
EDGEC_APART float edgec_words_factor(const float *scales, const float *sums, uint32_t parts) {
    const float most = edgec_top_score(scales, parts);
    return edgec_values_factor(most, edgec_total(sums, parts));
}

/* y of one head or of two, [4 * words], as edgec_mix_trio_words has it of three. */
EDGEC_INLINE void edgec_mix_few(const edgec_trio_words *of, uint32_t heads) {
    for (uint32_t i = 0; i < of->words; i++) {
        int32_t sums[8] = {0};
        const uint8_t *p = of->p;
        const int8_t *v = of->v + 4u * i;
        EDGEC_UNROLL_1
        for (uint32_t count = edgec_p_minu(4u * of->tiles, of->count), rest = of->rest;; rest = 0) {
            if (heads == 2u) {
                edgec_mix_two(p, p + of->lds, v, of->stride, count, sums, sums + 4);
            } else {
                edgec_mix_word(p, v, of->stride, count, sums);
            }
            if (rest == 0) {
                break;
            }
            p += count;
            v += (int32_t)(count * of->stride) + of->move;
            count = 4;
        }
        EDGEC_UNROLL_1
        for (uint32_t h = 0; h < heads; h++) {
            edgec_finish_four(sums + 4u * h, of->y[h] + 4u * i, of->factor[h]);
        }
    }
}

/* y of this core's words. */
EDGEC_INLINE void edgec_split_values(const edgec_attention_args *a, uint32_t core, uint32_t n_cores,
                                     edgec_shares shares) {
    const uint32_t d = a->head_dim, kv = a->n_kv_heads, words = d / 4u, group = a->n_heads / kv;
    const uint32_t length = a->pos + 1u, rest = length % 4u;
    const edgec_range mine = edgec_share(kv * words, core, n_cores);
    uint32_t j = 0, word = mine.begin, left = mine.end - mine.begin;
    EDGEC_UNROLL_1
    for (; word >= words; word -= words) {
        j++;
    }
    edgec_trio_words of;
    of.count = length;
    of.lds = a->lds;
    of.stride = kv * d;
    of.tiles = edgec_p_maxu(length / 4u, 1);
    of.rest = rest > 0 && length > 4u;
    of.move = ((int32_t)rest - 4) * (int32_t)(kv * d);
    EDGEC_UNROLL_1
    while (left > 0) {
        EDGEC_ANEW(a);
        const uint32_t run = edgec_p_minu(left, words - word);
        EDGEC_UNROLL_1
        for (uint32_t head = j * group, heads = group, done; heads > 0; heads -= done) {
            done = heads >= 3u && heads != 4u ? 3u : heads > 1u && length >= 4u ? 2u : 1u;
            of.p = a->p + head * a->lds;
            of.v = a->v + j * d + 4u * word;
            of.words = run;
            EDGEC_UNROLL_1
            for (uint32_t h = 0; h < done; h++) {
                const uint32_t first = shares.together == 1u ? head : j * group;
                of.y[h] = a->y + head * d + 4u * word;
                of.factor[h] = head < shares.ready
                                   ? *edgec_found(a, EDGEC_FOUND_FACTOR, head)
                                   : edgec_words_factor(edgec_found(a, EDGEC_FOUND_SCALE, first),
                                                        edgec_found(a, EDGEC_FOUND_SUM, head), shares.parts);
                head++;
            }
            if (done == 3u) {
                edgec_mix_trio_words(&of);
            } else {
                edgec_mix_few(&of, done);
            }
        }
        left -= run;
        word = 0;
        j++;
    }
}

#endif
