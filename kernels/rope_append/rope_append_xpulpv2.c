/* The kernel of rope_append.h for cores with XpulpV2. */
#include "rope_append.h"

#include "edgec_kv_xpulpv2.h"
#include "edgec_rope_xpulpv2.h"

/* The number below n that is `a`, of 32 bits with a sign, but for a multiple of n. a is at least -2^16. */
EDGEC_INLINE uint32_t edgec_modulo(uint32_t a, uint32_t n) {
    if (EDGEC_SELDOM(n & (n - 1u))) {
        return (a + (n << 16)) % n;
    }
    return a & (n - 1u);
}

/* Every n_cores-th head of keys and values from `core` on, counted over all heads of rows `begin` to `end`, whatever its
 * shift, elements and scale. */
EDGEC_APART void edgec_kv_slowly(const edgec_rope_append_args *a, uint32_t begin, uint32_t end, uint32_t core,
                                 uint32_t n_cores) {
    const uint32_t d = a->head_dim, heads = a->n_heads, kv = a->n_kv_heads, all = heads + 2u * kv;
    for (uint32_t unit = begin * all + core; unit < end * all; unit += n_cores) {
        const uint32_t row = unit / all, head = unit % all;
        const float *x = a->x + (size_t)unit * d; /* [d] */
        if (head >= heads + kv) {
            const size_t at = (size_t)row * kv + head - heads - kv;
            a->v_scale[at] = edgec_kv_head(x, NULL, a->v_q + at * d, d);
        } else if (head >= heads) {
            const size_t at = (size_t)row * kv + head - heads;
            const float *shift = a->shift ? a->shift + (size_t)(head - heads) * d : NULL; /* [d] */
            a->k_scale[at] = edgec_kv_head(x, shift, a->k_q + at * d, d);
        }
    }
}

/* Whole rows: an angle's factors are converted once for all heads. */
EDGEC_APART void edgec_rope_append_rows(const edgec_rope_append_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_share(a->m, core, n_cores);
    const uint32_t d = a->head_dim, half = d / 2u, heads = a->n_heads, kv = a->n_kv_heads;
    uint32_t slowly = d % 4u || a->shift;
    for (uint32_t row = mine.begin; row < mine.end; row++) {
        float *x = a->x + (size_t)row * (heads + 2u * kv) * d; /* [heads + kv + kv][head_dim] */
        float *k = x + heads * d;                              /* [kv][head_dim] */
        float *y = a->y + (size_t)row * heads * d;             /* [heads][head_dim] */
        const int16_t *c = a->table + (size_t)row * d;         /* [half], and as many sines behind */
        const size_t at = (size_t)row * kv;
        EDGEC_UNROLL_1
        for (uint32_t i = 0; i < half; i++) {
            const float cosine = (float)c[i] * a->unit, sine = (float)c[half + i] * a->unit;
            edgec_rotate(x + i, y + i, heads, 4u * half, 4u * d, cosine, sine);
            edgec_rotate(k + i, k + i, kv, 4u * half, 4u * d, cosine, sine);
        }
        if (!EDGEC_SELDOM(slowly)) {
            slowly |= edgec_kv_fours(k, a->k_q + at * d, a->k_scale + at, kv, d);
            slowly |= edgec_kv_fours(k + kv * d, a->v_q + at * d, a->v_scale + at, kv, d);
        }
    }
    if (EDGEC_SELDOM(slowly)) {
        edgec_kv_slowly(a, mine.begin, mine.end, 0, 1);
    }
}

/* Fewer rows than cores, one after another. */
EDGEC_APART void edgec_rope_append_few(const edgec_rope_append_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t d = a->head_dim, heads = a->n_heads, kv = a->n_kv_heads;
    edgec_rope_append_args one = *a;
    one.m = 1;
    for (uint32_t row = 0; row < a->m; row++) {
        edgec_rope_append(&one, core, n_cores);
        one.x += (heads + 2u * kv) * d;
        one.table += d;
        one.y += heads * d;
        one.k_q += kv * d;
        one.k_scale += kv;
        one.v_q += kv * d;
        one.v_scale += kv;
    }
}

void edgec_rope_append(const edgec_rope_append_args *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_KNOWN(edgec_rope_append_args, a, args);
    if (EDGEC_SELDOM(a->m != 1u)) {
        if (a->m >= n_cores) {
            edgec_rope_append_rows(args, core, n_cores);
        } else {
            edgec_rope_append_few(args, core, n_cores);
        }
        return;
    }
    /* A token's row: every n_cores-th head, of queries, keys and values alike. What runs once a layer takes longer to be
     * fetched than to be executed, so the code is short. */
    const uint32_t d = a->head_dim, step = n_cores * d, heads = a->n_heads;
    float *x = a->x + core * d; /* [head_dim] */
    float *y = a->y + core * d; /* [head_dim] */
    EDGEC_UNROLL_1
    for (uint32_t head = core; head < heads + a->n_kv_heads; head += n_cores) {
        y = head < heads ? y : x;
        edgec_rotate_head(x, y, a->table, d / 2u, a->unit);
        x += step;
        y += step;
    }
    uint32_t slowly = d % 4u || a->shift;
    if (!EDGEC_SELDOM(slowly)) {
        uint32_t head = edgec_modulo(core - heads, n_cores), left = 2u * a->n_kv_heads; /* our first key */
        const float *k = a->x + (heads + head) * d;                                     /* [head_dim] */
        int8_t *q = a->k_q;
        uint16_t *scale = a->k_scale;
        EDGEC_UNROLL_1
        for (; head < left; head += n_cores) {
            if (head >= a->n_kv_heads && q == a->k_q) {
                left -= a->n_kv_heads;
                head -= a->n_kv_heads;
                q = a->v_q;
                scale = a->v_scale;
            }
            slowly |= edgec_kv_fours(k, q + head * d, scale + head, 1, d);
            k += step;
        }
    }
    if (EDGEC_SELDOM(slowly)) {
        edgec_kv_slowly(args, 0, 1, core, n_cores);
    }
}
