/* Kernels of attention.h for cores with XpulpV2: scores, values and the end.
 *
 * Where heads are few for the cores, scores are split in positions too; values always are in words of a head.
 */
#include "attention.h"

#include "edgec_scores_xpulpv2.h"
#include "edgec_values_xpulpv2.h"

void edgec_attention_scores(const edgec_attention_scores_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t kv = a->n_kv_heads;
    const uint32_t d = a->head_dim;
    const uint32_t units = a->m * a->n_heads;
    const uint32_t parts = edgec_score_parts(units, n_cores);
    const uint32_t most = (a->count + parts - 1u) / parts; /* positions of a part */
    const edgec_range mine = edgec_share(units * parts, core, n_cores);
    for (uint32_t part = mine.begin; part < mine.end; part++) {
        const uint32_t unit = part / parts;
        const uint32_t j = unit % a->n_heads * kv / a->n_heads;
        const uint32_t first = edgec_p_minu((part - unit * parts) * most, a->count);
        const uint32_t count = edgec_p_minu(a->count - first, most);
        const edgec_keys keys = {(const uint8_t *)a->k + ((size_t)first * kv + j) * d,
                                 a->k_scale + (size_t)first * kv + j, kv * d, d, kv};
        edgec_score_row(8, a->q + (size_t)unit * d, keys, a->q_scale[unit] * a->factor,
                        a->s + (size_t)unit * a->lds + a->first + first, count);
    }
}

/* edgec_mix_row, apart: it is called for single heads and for what is left of pairs. */
EDGEC_APART void edgec_mix_one(const uint8_t *p, const int8_t *v, uint32_t stride, uint32_t width,
                               uint32_t count, int32_t *acc) {
    edgec_mix_row(p, v, stride, width, count, acc);
}

/* The same for two heads with the same values. Arguments ending in 2 are the second's. */
EDGEC_APART void edgec_mix_pair(const uint8_t *p, const uint8_t *p2, const int8_t *v, uint32_t stride,
                                uint32_t width, uint32_t count, int32_t *acc, int32_t *acc2) {
    const uint32_t rest = count % 4u, whole = count - rest;
    EDGEC_UNROLL_1
    for (; whole && width >= 4u; width -= 4u) {
        edgec_mix_two(p, p2, v, stride, whole, acc, acc2);
        if (rest) {
            edgec_mix_one(p + whole, v + (size_t)whole * stride, stride, 4, rest, acc);
            edgec_mix_one(p2 + whole, v + (size_t)whole * stride, stride, 4, rest, acc2);
        }
        v += 4;
        acc += 4;
        acc2 += 4;
    }
    if (width) {
        edgec_mix_one(p, v, stride, width, count, acc);
        edgec_mix_one(p2, v, stride, width, count, acc2);
    }
}

/* `width` elements of `units` rows and heads that share the values. p, acc: of the first; units come in runs of `run`
 * neighbours, and runs are n_heads units apart. */
EDGEC_INLINE void edgec_mix_part(const edgec_attention_values_args *a, const uint8_t *p, const int8_t *v,
                                 int32_t *acc, uint32_t units, uint32_t run, uint32_t width) {
    const uint32_t d = a->head_dim, stride = a->n_kv_heads * d;
    uint32_t in_run = 0;
    const uint8_t *waiting_p = NULL; /* of a head that waits for a second one */
    int32_t *waiting_acc = NULL;
    for (; units > 0; units--) {
        if (a->first == 0) {
            EDGEC_UNROLL_1
            for (uint32_t i = 0; i < width; i++) {
                acc[i] = 0;
            }
        }
        if (waiting_p) {
            edgec_mix_pair(waiting_p, p, v, stride, width, a->count, waiting_acc, acc);
            waiting_p = NULL;
        } else if (units > 1u) {
            waiting_p = p;
            waiting_acc = acc;
        } else {
            edgec_mix_one(p, v, stride, width, a->count, acc);
        }
        in_run = in_run + 1u < run ? in_run + 1u : 0u;
        const uint32_t next = in_run ? 1u : a->n_heads - run + 1u;
        p += next * a->lds;
        acc += next * d;
    }
}

void edgec_attention_values(const edgec_attention_values_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t d = a->head_dim;
    const uint32_t kv = a->n_kv_heads;
    const uint32_t words = (d + 3u) / 4u;
    const uint32_t run = a->n_heads / kv; /* heads of a row that share keys and values */
    /* Rows share values too, unless the cores need them to have work. */
    const uint32_t apart = kv * words < n_cores ? a->m : 1u;
    const uint32_t rows = apart == 1u ? a->m : 1u;
    const edgec_range mine = edgec_share(kv * words * apart, core, n_cores);
    uint32_t head = mine.begin / words; /* of all rows that are apart */
    uint32_t word = mine.begin - head * words;
    for (uint32_t part = mine.begin; part < mine.end; head++) {
        uint32_t row = 0, j = head;
        EDGEC_UNROLL_1
        for (; j >= kv; j -= kv) {
            row++;
        }
        const size_t unit = (size_t)row * a->n_heads + j * run;
        const uint32_t count = edgec_p_minu(words - word, mine.end - part);
        const uint32_t i = word * 4u;
        edgec_mix_part(a, a->p + unit * a->lds + a->first, a->v + (size_t)j * d + i, a->acc + unit * d + i,
                       rows * run, run, edgec_p_minu(d - i, count * 4u));
        part += count;
        word = 0;
    }
}

void edgec_attention_finish(const edgec_attention_finish_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_share(a->m * a->n_heads, core, n_cores);
    const uint32_t d = a->head_dim;
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        edgec_finish_row(a->acc + (size_t)unit * d, a->y + (size_t)unit * d, d, a->p_scale[unit]);
    }
}
