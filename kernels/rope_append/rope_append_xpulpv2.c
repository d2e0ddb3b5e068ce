/* The kernel of rope_append.h for cores with XpulpV2. */
#include "rope_append.h"

#include "edgec_kv_xpulpv2.h"
#include "edgec_rope_xpulpv2.h"

/* `count` heads, next to each other, that edgec_kv_fours did not take. */
EDGEC_APART void edgec_kv_rest(const float *x, const float *shift, int8_t *q, uint16_t *scale, uint32_t count,
                               uint32_t d) {
    EDGEC_UNROLL_1
    for (; count > 0; count--) {
        *scale++ = edgec_kv_head(x, shift, q, d);
        x += d;
        q += d;
        shift = shift ? shift + d : NULL;
    }
}

/* `count` heads, next to each other. Apart: keys and values have it. */
EDGEC_APART void edgec_kv_heads(const float *x, const float *shift, int8_t *q, uint16_t *scale,
                                uint32_t count, uint32_t d) {
    const uint32_t left = shift || d % 4u ? count : edgec_kv_fours(x, q, scale, count, d);
    if (EDGEC_SELDOM(left > 0)) {
        const uint32_t done = count - left;
        edgec_kv_rest(x + done * d, shift, q + done * d, scale + done, left, d);
    }
}

void edgec_rope_append(const edgec_rope_append_args *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_KNOWN(edgec_rope_append_args, a, args);
    /* Rows are split where there are enough, else heads: those of queries and values from the first core on, those of
     * keys from the last one down, so that heads which do not fill the cores meet. */
    edgec_range rows = {0, a->m};
    if (a->m >= n_cores) {
        rows = edgec_share(a->m, core, n_cores);
        core = 0;
        n_cores = 1;
    }
    const edgec_range queries = edgec_share(a->n_heads, core, n_cores);
    const edgec_range values = edgec_share(a->n_kv_heads, core, n_cores);
    const edgec_range keys = edgec_share(a->n_kv_heads, n_cores - 1u - core, n_cores);
    for (uint32_t row = rows.begin; row < rows.end; row++) {
        EDGEC_ANEW(a);
        const uint32_t d = a->head_dim, half = d / 2u, heads = a->n_heads, kv = a->n_kv_heads;
        float *x = a->x + (size_t)row * (heads + 2u * kv) * d; /* [heads + kv + kv][head_dim] */
        const float *q = x + queries.begin * d;                /* [of queries][head_dim] */
        float *k = x + (heads + keys.begin) * d;               /* [of keys][head_dim] */
        float *y = a->y + ((size_t)row * heads + queries.begin) * d;
        const int16_t *c = a->table + (size_t)row * d; /* [half], and as many sines behind */
        EDGEC_UNROLL_1
        for (uint32_t i = 0; i < half; i++) {
            const float cosine = (float)c[i] * a->unit, sine = (float)c[half + i] * a->unit;
            if (queries.end > queries.begin) {
                edgec_rotate(q + i, y + i, queries.end - queries.begin, 4u * half, 4u * d, cosine, sine);
            }
            if (keys.end > keys.begin) {
                edgec_rotate(k + i, k + i, keys.end - keys.begin, 4u * half, 4u * d, cosine, sine);
            }
        }
        const size_t k_at = (size_t)row * kv + keys.begin, v_at = (size_t)row * kv + values.begin;
        edgec_kv_heads(k, a->shift ? a->shift + keys.begin * d : NULL, a->k_q + k_at * d, a->k_scale + k_at,
                       keys.end - keys.begin, d);
        edgec_kv_heads(x + (heads + kv + values.begin) * d, NULL, a->v_q + v_at * d, a->v_scale + v_at,
                       values.end - values.begin, d);
    }
}
