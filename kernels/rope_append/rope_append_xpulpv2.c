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

/* Heads begin .. end - 1 of `all` that a core has: all of them where it has whole rows. */
EDGEC_INLINE edgec_range edgec_heads(uint32_t all, uint32_t by_rows, uint32_t core, uint32_t n_cores) {
    return by_rows ? (edgec_range){0, all} : edgec_share(all, core, n_cores);
}

void edgec_rope_append(const edgec_rope_append_args *a, uint32_t core, uint32_t n_cores) {
    /* Rows are split where there are enough, else heads. Of as many keys as queries, the first half of the cores has the
     * queries and values, the other one the keys; of fewer, which fill no half, keys go from the last core down and
     * values from the middle down, as a head of a query takes least. */
    const uint32_t by_rows = a->m >= n_cores, halves = a->n_kv_heads == a->n_heads && n_cores > 1u;
    const uint32_t middle = n_cores / 2u, some = halves ? middle : n_cores;
    const edgec_range rows = by_rows ? edgec_share(a->m, core, n_cores) : (edgec_range){0, a->m};
    const edgec_range q_mine = edgec_heads(a->n_heads, by_rows, core, some);
    const edgec_range k_mine = edgec_heads(a->n_kv_heads, by_rows, n_cores - 1u - core, some);
    const uint32_t below = halves ? core : core <= middle ? middle - core : middle + n_cores - core;
    const edgec_range v_mine = edgec_heads(a->n_kv_heads, by_rows, below, some);
    for (uint32_t row = rows.begin; row < rows.end; row++) {
        EDGEC_ANEW(a);
        const uint32_t d = a->head_dim, half = d / 2u, heads = a->n_heads, kv = a->n_kv_heads;
        const int16_t *c = a->table + (size_t)row * d;              /* [half] */
        const int16_t *s = c + half;                                /* [half] */
        float *x = a->x + (size_t)row * (heads + 2u * kv) * d;      /* [heads + kv + kv][head_dim] */
        const float *q = x + q_mine.begin * d;                      /* [of q_mine][head_dim] */
        float *y = a->y + ((size_t)row * heads + q_mine.begin) * d; /* the same */
        float *k = x + (heads + k_mine.begin) * d;                  /* [of k_mine][head_dim] */
        const float *v = x + (heads + kv + v_mine.begin) * d;       /* [of v_mine][head_dim] */
        const uint32_t queries = q_mine.end - q_mine.begin, keys = k_mine.end - k_mine.begin;
        const size_t k_at = (size_t)row * kv + k_mine.begin, v_at = (size_t)row * kv + v_mine.begin;
        EDGEC_UNROLL_1
        for (uint32_t i = 0; i < half; i++) {
            const float cosine = (float)c[i] * a->unit, sine = (float)s[i] * a->unit;
            if (queries > 0) {
                edgec_rotate(q + i, y + i, queries, 4u * half, 4u * d, cosine, sine);
            }
            if (keys > 0) {
                edgec_rotate(k + i, k + i, keys, 4u * half, 4u * d, cosine, sine);
            }
        }
        edgec_kv_heads(k, a->shift ? a->shift + k_mine.begin * d : NULL, a->k_q + k_at * d, a->k_scale + k_at,
                       keys, d);
        edgec_kv_heads(v, NULL, a->v_q + v_at * d, a->v_scale + v_at, v_mine.end - v_mine.begin, d);
    }
}
