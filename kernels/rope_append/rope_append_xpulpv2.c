/* The kernel of rope_append.h for cores with XpulpV2. */
#include "rope_append.h"

#include "edgec_fork.h"
#include "edgec_kv_xpulpv2.h"
#include "edgec_rope_xpulpv2.h"
#include "rope_append_fours_xpulpv2.h"

/* Every n_cores-th head of keys and values from `core` on of each row, whatever its shift, elements and scale. */
EDGEC_APART void edgec_kv_slowly(const edgec_rope_append_args *a, uint32_t begin, uint32_t end, uint32_t core,
                                 uint32_t n_cores) {
    const uint32_t d = a->head_dim, heads = a->n_heads, kv = a->n_kv_heads;
    for (uint32_t row = begin; row < end; row++) {
        for (uint32_t head = core; head < 2u * kv; head += n_cores) {
            const float *x = a->x + ((size_t)row * (heads + 2u * kv) + heads + head) * d; /* [d] */
            if (head >= kv) {
                const size_t at = (size_t)row * kv + head - kv;
                a->v_scale[at] = edgec_kv_head(x, NULL, a->v_q + at * d, d);
            } else {
                const size_t at = (size_t)row * kv + head;
                const float *shift = a->shift ? a->shift + (size_t)head * d : NULL; /* [d] */
                a->k_scale[at] = edgec_kv_head(x, shift, a->k_q + at * d, d);
            }
        }
    }
}

/* Whole rows of heads of 4 elements without a shift. */
static void edgec_rope_append_fours(const void *args, uint32_t core, uint32_t n_cores) {
    const edgec_rope_append_args *a = args;
    const edgec_range mine = edgec_share(a->m, core, n_cores);
    const uint32_t heads = a->n_heads, kv = a->n_kv_heads;
    uint32_t slowly = 0;
    EDGEC_UNROLL_1
    for (uint32_t row = mine.begin; row < mine.end; row++) {
        float *x = a->x + (size_t)row * (heads + 2u * kv) * 4u; /* [heads + kv + kv][4] */
        const edgec_angles angles = edgec_angles_of(a->table + (size_t)row * 4u, a->unit);
        const size_t at = (size_t)row * kv;
        edgec_rotate_fours(x, a->y + (size_t)row * heads * 4u, heads, angles);
        x += heads * 4u;
        slowly |= edgec_keys_fours(x, a->k_q + at * 4u, a->k_scale + at, kv, angles);
        slowly |= edgec_values_fours(x + kv * 4u, a->v_q + at * 4u, a->v_scale + at, kv);
    }
    if (EDGEC_SELDOM(slowly)) {
        edgec_kv_slowly(a, mine.begin, mine.end, 0, 1);
    }
}

/* Whole rows: an angle's factors are converted once for all heads. */
static void edgec_rope_append_rows(const void *args, uint32_t core, uint32_t n_cores) {
    const edgec_rope_append_args *a = args;
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

/* One row by a team: an angle in every `sets`-th head of queries and keys is a core's, then a head of keys or values. What
 * runs once a layer takes longer to be fetched than to be executed, so the code is short. */
EDGEC_INLINE void edgec_rope_append_row(const edgec_rope_append_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t d = a->head_dim, half = d / 2u, heads = a->n_heads, kv = a->n_kv_heads;
    const uint32_t sets = half < 8u ? (half + 7u) / half : 1u; /* so that eight cores have something */
    EDGEC_UNROLL_1
    for (uint32_t unit = core; unit < half * sets; unit += n_cores) {
        const uint32_t set = sets > 1u ? unit / half : 0u, i = unit - set * half;
        const float cosine = (float)a->table[i] * a->unit, sine = (float)a->table[half + i] * a->unit;
        float *x = a->x + set * d + i, *y = a->y + set * d + i; /* of the set's first head */
        uint32_t count = heads;
        EDGEC_UNROLL_1
        for (;;) {
            if (!EDGEC_SELDOM(count <= set)) {
                edgec_rotate(x, y, (count - set + sets - 1u) / sets, 4u * half, 4u * d * sets, cosine, sine);
            }
            if (y == x) {
                break;
            }
            y = x += heads * d; /* keys, where they are */
            count = kv;
        }
    }
    hal_barrier();
    uint32_t slowly = d % 4u || a->shift;
    if (!EDGEC_SELDOM(slowly)) {
        const float *k = a->x + (heads + core) * d; /* [head_dim] */
        uint32_t head = core, left = 2u * kv;
        int8_t *q = a->k_q;
        uint16_t *scale = a->k_scale;
        EDGEC_UNROLL_1
        for (; head < left; head += n_cores) {
            if (head >= kv && q == a->k_q) {
                left -= kv;
                head -= kv;
                q = a->v_q;
                scale = a->v_scale;
            }
            slowly |= edgec_kv_fours(k, q + head * d, scale + head, 1, d);
            k += n_cores * d;
        }
    }
    if (EDGEC_SELDOM(slowly)) {
        edgec_kv_slowly(a, 0, 1, core, n_cores);
    }
}

/* Fewer rows than cores, one after another. */
static void edgec_rope_append_few(const void *args, uint32_t core, uint32_t n_cores) {
    const edgec_rope_append_args *a = args;
    const uint32_t d = a->head_dim, heads = a->n_heads, kv = a->n_kv_heads;
    edgec_rope_append_args one = *a;
    for (uint32_t row = 0; row < a->m; row++) {
        edgec_rope_append_row(&one, core, n_cores);
        one.x += (heads + 2u * kv) * d;
        one.table += d;
        one.y += heads * d;
        one.k_q += kv * d;
        one.k_scale += kv;
        one.v_q += kv * d;
        one.v_scale += kv;
    }
}

static void edgec_rope_append_token(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_ASSUME(core < n_cores);
    EDGEC_KNOWN(edgec_rope_append_args, a, args);
    edgec_rope_append_row(a, core, n_cores);
}

void edgec_rope_append(const edgec_rope_append_args *args, uint32_t core, uint32_t n_cores) {
    (void)core;
    (void)n_cores;
    EDGEC_KNOWN(edgec_rope_append_args, a, args);
    if (!EDGEC_SELDOM(a->m != 1u)) {
        hal_fork_team(edgec_rope_append_token, args);
    } else if (a->m < 8u) {
        hal_fork_team(edgec_rope_append_few, args);
    } else {
        hal_fork(a->head_dim == 4u && !a->shift ? edgec_rope_append_fours : edgec_rope_append_rows, args);
    }
}
