/* The whole of attention.h in one kernel, for cores with XpulpV2: a head is done before the next one begins, or all heads
 * of a row together.
 */
#include "attention_split_xpulpv2.h"

static void edgec_attention_heads(const void *args, uint32_t core, uint32_t n_cores) {
    const edgec_attention_args *a = args;
    /* Rows of a head are neighbours: later ones see more, and every core has some of them. */
    const edgec_range mine = edgec_share(a->m * a->n_heads, core, n_cores);
    uint32_t head = 0, row = mine.begin;
    EDGEC_UNROLL_1
    for (; row >= a->m; row -= a->m) { /* few as a rule: shorter than a division */
        head++;
    }
    for (uint32_t left = mine.end - mine.begin; left > 0; left--) {
        EDGEC_ANEW(a); /* what a head needs is computed for it, not kept in memory from head to head */
        const uint32_t kv = a->n_kv_heads;
        const uint32_t d = a->head_dim;
        const uint32_t unit = row * a->n_heads + head;
        const uint32_t j = kv == a->n_heads ? head : head * kv / a->n_heads;
        const uint32_t length = a->pos + row + 1u;
        const float *q = a->q + (size_t)unit * d; /* [head_dim] */
        int8_t *q8 = a->q8 + core * d;            /* [head_dim] */
        float *s = a->s + core * a->lds;          /* [length] */
        uint8_t *p = a->p + core * a->lds;        /* [length] */
        int32_t sum;
        const float q_scale = edgec_quantize_under(edgec_top(q, d, 0.0f), q, q8, d, &sum);
        const float top = edgec_score_row(
            8, q8, (edgec_keys){(const uint8_t *)a->k + (size_t)j * d, a->k_scale + j, kv * d, d, kv},
            q_scale * a->factor, s, length);
        const float scale = edgec_softmax_row(s, p, a->v_scale + j, kv, length, 0, top);
        edgec_mix_head(p, a->v + (size_t)j * d, kv * d, d, length, scale, a->y + (size_t)unit * d);
        if (++row == a->m) {
            row = 0;
            head++;
        }
    }
}

void edgec_attention(const edgec_attention_args *a, uint32_t core, uint32_t n_cores) {
    (void)core;
    (void)n_cores;
    if (EDGEC_SELDOM(edgec_splits(a))) {
        edgec_attention_split(a);
    } else {
        hal_fork(edgec_attention_heads, a);
    }
}
