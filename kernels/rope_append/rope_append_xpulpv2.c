/* The kernel of rope_append.h for cores with XpulpV2. */
#include "rope_append.h"

#include "edgec_fork.h"
#include "edgec_kv_xpulpv2.h"
#include "edgec_rope_xpulpv2.h"
#include "rope_append_fours_xpulpv2.h"

/* Every n_cores-th head of each row from `core` on quantised, whatever its shift, elements and scale. */
EDGEC_APART void edgec_heads_slowly(const edgec_rope_append_args *a, uint32_t begin, uint32_t end,
                                    uint32_t core, uint32_t n_cores) {
    const uint32_t d = a->head_dim, heads = a->n_heads, kv = a->n_kv_heads;
    for (uint32_t row = begin; row < end; row++) {
        for (uint32_t head = core; head < heads + 2u * kv; head += n_cores) {
            const float *x = a->x + ((size_t)row * (heads + 2u * kv) + head) * d; /* [d] */
            if (head >= heads + kv) {
                const size_t at = (size_t)row * kv + head - heads - kv;
                a->v_scale[at] = edgec_kv_head(x, NULL, a->v_q + at * d, d);
            } else if (head >= heads) {
                const size_t at = (size_t)row * kv + head - heads;
                const float *shift = a->shift ? a->shift + (size_t)(head - heads) * d : NULL; /* [d] */
                a->k_scale[at] = edgec_kv_head(x, shift, a->k_q + at * d, d);
            } else {
                const size_t at = (size_t)row * heads + head;
                int32_t sum;
                a->q_scale[at] = edgec_quantize_under(edgec_top(x, d, 0.0f), x, a->q + at * d, d, &sum);
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
        const size_t at = (size_t)row * kv, first = (size_t)row * heads;
        slowly |= edgec_queries_fours(x, a->q + first * 4u, a->q_scale + first, heads, angles);
        x += heads * 4u;
        slowly |= edgec_keys_fours(x, a->k_q + at * 4u, a->k_scale + at, kv, angles);
        slowly |= edgec_values_fours(x + kv * 4u, a->v_q + at * 4u, a->v_scale + at, kv);
    }
    if (EDGEC_SELDOM(slowly)) {
        edgec_heads_slowly(a, mine.begin, mine.end, 0, 1);
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
        const float *k = x + heads * d;                        /* [kv][head_dim] */
        const int16_t *c = a->table + (size_t)row * d;         /* [half], and as many sines behind */
        const size_t at = (size_t)row * kv, first = (size_t)row * heads;
        EDGEC_UNROLL_1
        for (uint32_t i = 0; i < half; i++) {
            const float cosine = (float)c[i] * a->unit, sine = (float)c[half + i] * a->unit;
            edgec_rotate(x + i, x + i, heads + kv, 4u * half, 4u * d, cosine, sine);
        }
        if (!EDGEC_SELDOM(slowly)) {
            edgec_queries(x, a->q + first * d, a->q_scale + first, heads, d);
            slowly |= edgec_kv_fours(k, a->k_q + at * d, a->k_scale + at, kv, d);
            slowly |= edgec_kv_fours(k + kv * d, a->v_q + at * d, a->v_scale + at, kv, d);
        }
    }
    if (EDGEC_SELDOM(slowly)) {
        edgec_heads_slowly(a, mine.begin, mine.end, 0, 1);
    }
}

/* One row by a team: an angle in every `sets`-th head of queries and keys is a core's, then every n_cores-th head. What
 * runs once a layer takes longer to be fetched than to be executed, so the code is short. all: what a is of, in memory */
EDGEC_INLINE void edgec_rope_append_row(const edgec_rope_append_args *a, const edgec_rope_append_args *all,
                                        uint32_t core, uint32_t n_cores) {
    const uint32_t d = a->head_dim, half = d / 2u, heads = a->n_heads, kv = a->n_kv_heads;
    const uint32_t sets = half < 8u ? (half + 7u) / half : 1u; /* so that eight cores have something */
    EDGEC_UNROLL_1
    for (uint32_t unit = core; unit < half * sets; unit += n_cores) {
        const uint32_t set = sets > 1u ? unit / half : 0u, i = unit - set * half;
        const float cosine = (float)a->table[i] * a->unit, sine = (float)a->table[half + i] * a->unit;
        float *x = a->x + set * d + i; /* of the set's first head */
        if (!EDGEC_SELDOM(heads + kv <= set)) {
            edgec_rotate(x, x, (heads + kv - set + sets - 1u) / sets, 4u * half, 4u * d * sets, cosine, sine);
        }
    }
    hal_barrier();
    uint32_t slowly = d % 4u || a->shift;
    if (!EDGEC_SELDOM(slowly)) {
        EDGEC_UNROLL_1
        for (uint32_t unit = core; unit < heads + 2u * kv; unit += n_cores) {
            const float *x = a->x + unit * d, *again = x; /* [head_dim] */
            int8_t *q = a->q;
            uint32_t head = unit;
            float over = 127.0f, under = edgec_kv_top(&x, d);
            const float scale = under * EDGEC_ONE_127TH;
            if (head < heads) {
                a->q_scale[head] = scale;
            } else {
                uint16_t *scales = a->k_scale;
                q = a->k_q;
                head -= heads;
                if (head >= kv) {
                    head -= kv;
                    q = a->v_q;
                    scales = a->v_scale;
                }
                slowly |= edgec_kv_scale(scale, scales + head, &under);
                over = 1.0f;
            }
            q += head * d;
            edgec_kv_bytes(&again, &q, d, edgec_bits(under) ? edgec_quotient(over, under) : 0.0f,
                           EDGEC_MAGIC_BITS);
        }
    }
    if (EDGEC_SELDOM(slowly)) {
        edgec_heads_slowly(all, 0, 1, core, n_cores);
    }
}

/* Fewer rows than cores, one after another. */
static void edgec_rope_append_few(const void *args, uint32_t core, uint32_t n_cores) {
    const edgec_rope_append_args *a = args;
    const uint32_t d = a->head_dim, heads = a->n_heads, kv = a->n_kv_heads;
    edgec_rope_append_args one = *a;
    for (uint32_t row = 0; row < a->m; row++) {
        edgec_rope_append_row(&one, &one, core, n_cores);
        one.x += (heads + 2u * kv) * d;
        one.table += d;
        one.q += heads * d;
        one.q_scale += heads;
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
    edgec_rope_append_row(a, args, core, n_cores);
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
