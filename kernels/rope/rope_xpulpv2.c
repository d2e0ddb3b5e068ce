/* The kernel of rope.h for cores with XpulpV2. */
#include "rope.h"

#include "edgec_rope_xpulpv2.h"

void edgec_rope(const edgec_rope_args *a, uint32_t core, uint32_t n_cores) {
    /* Rows are split where there are enough; else pairs, as their factors are converted once for all heads; else heads. */
    const uint32_t all = a->head_dim / 2u;
    const uint32_t by_rows = a->m >= n_cores;
    const uint32_t by_pairs = all >= n_cores;
    const edgec_range mine = edgec_share(by_rows ? a->m : by_pairs ? all : a->heads, core, n_cores);
    const edgec_range rows = by_rows ? mine : (edgec_range){0, a->m};
    const edgec_range pairs = by_pairs && !by_rows ? mine : (edgec_range){0, all};
    const edgec_range heads = by_pairs || by_rows ? (edgec_range){0, a->heads} : mine;
    if (heads.begin == heads.end) {
        return;
    }
    for (uint32_t row = rows.begin; row < rows.end; row++) {
        EDGEC_ANEW(a);
        const uint32_t d = a->head_dim, half = d / 2u;
        const int16_t *c = a->table + (size_t)row * d;                  /* [half] */
        const int16_t *s = c + half;                                    /* [half] */
        const float *x = a->x + (size_t)row * a->ldx + heads.begin * d; /* [heads][head_dim] */
        float *y = a->y + ((size_t)row * a->heads + heads.begin) * d;   /* [heads][head_dim] */
        EDGEC_UNROLL_1
        for (uint32_t i = pairs.begin; i < pairs.end; i++) {
            edgec_rotate(x + i, y + i, heads.end - heads.begin, 4u * half, 4u * d, (float)c[i] * a->unit,
                         (float)s[i] * a->unit);
        }
    }
}
