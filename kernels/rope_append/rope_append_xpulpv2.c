/* The kernel of rope_append.h for cores with XpulpV2. */
#include "rope_append.h"

#include "edgec_kv_xpulpv2.h"
#include "edgec_rope_xpulpv2.h"

/* `count` heads, next to each other. Apart: keys and values have it. */
EDGEC_APART void edgec_kv_heads(const float *x, const float *shift, int8_t *q, uint16_t *scale,
                                uint32_t count, uint32_t d) {
    EDGEC_UNROLL_1
    for (; count > 0; count--) {
        *scale++ = edgec_kv_head(x, shift, q, d);
        x += d;
        q += d;
        shift = shift ? shift + d : NULL;
    }
}

void edgec_rope_append(const edgec_rope_append_args *a, uint32_t core, uint32_t n_cores) {
    /* Rows are split where there are enough, else heads: a core has some of the queries' and keys' heads, which it rotates,
     * those of its keys, and the values of a group of queries of which it has the first one. */
    const uint32_t heads = a->n_heads, kv = a->n_kv_heads;
    const uint32_t by_rows = a->m >= n_cores;
    const edgec_range mine = edgec_share(by_rows ? a->m : heads + kv, core, n_cores);
    const edgec_range rows = by_rows ? mine : (edgec_range){0, a->m};
    const edgec_range rotated = by_rows ? (edgec_range){0, heads + kv} : mine;
    const uint32_t q_begin = edgec_p_minu(rotated.begin, heads), q_end = edgec_p_minu(rotated.end, heads);
    uint32_t v_begin = q_begin, v_end = q_end;
    if (kv != heads) {
        const uint32_t group = heads / kv;
        v_begin = (v_begin + group - 1u) / group;
        v_end = (v_end + group - 1u) / group;
    }
    for (uint32_t row = rows.begin; row < rows.end; row++) {
        EDGEC_ANEW(a);
        const uint32_t d = a->head_dim, half = d / 2u, queries = a->n_heads, all = a->n_kv_heads;
        const int16_t *c = a->table + (size_t)row * d;            /* [half] */
        const int16_t *s = c + half;                              /* [half] */
        float *x = a->x + (size_t)row * (queries + 2u * all) * d; /* [heads][head_dim] */
        const float *q = x + q_begin * d;                         /* [q_end - q_begin][head_dim] */
        float *y = a->y + ((size_t)row * queries + q_begin) * d;  /* the same */
        float *k = x + (rotated.begin + q_end - q_begin) * d;     /* [keys][head_dim] */
        const uint32_t keys = rotated.end - rotated.begin - (q_end - q_begin);
        const size_t first = (size_t)row * all, key = rotated.begin + q_end - q_begin - queries;
        EDGEC_UNROLL_1
        for (uint32_t i = 0; i < half; i++) {
            const float cosine = (float)c[i] * a->unit, sine = (float)s[i] * a->unit;
            if (q_end > q_begin) {
                edgec_rotate(q + i, y + i, q_end - q_begin, 4u * half, 4u * d, cosine, sine);
            }
            if (keys > 0) {
                edgec_rotate(k + i, k + i, keys, 4u * half, 4u * d, cosine, sine);
            }
        }
        if (keys > 0) {
            edgec_kv_heads(k, a->shift ? a->shift + key * d : NULL, a->k_q + (first + key) * d,
                           a->k_scale + first + key, keys, d);
        }
        edgec_kv_heads(x + (queries + all + v_begin) * d, NULL, a->v_q + (first + v_begin) * d,
                       a->v_scale + first + v_begin, v_end - v_begin, d);
    }
}
