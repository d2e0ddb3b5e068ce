/* v quantised when all of it is there, for cores with XpulpV2. */
#ifndef EDGEC_MATMUL_W4A8_SILU_NEUREKA_QUANTIZE_XPULPV2_H
#define EDGEC_MATMUL_W4A8_SILU_NEUREKA_QUANTIZE_XPULPV2_H

#include "edgec_parts_xpulpv2.h"
#include "matmul_w4a8_silu_neureka_call.h"

#define EDGEC_GROUPS 4u /* that a row in parts has at most */

/* Units of v quantised, groups of rows one after the other. tops: whether theirs are where their scales will be. */
EDGEC_APART void quantize_units(const edgec_matmul_w4a8_silu_neureka_args *a, edgec_range units, int tops) {
    const uint32_t width = a->n / 2u, size = a->out_group, groups = edgec_groups(width, size);
    uint32_t row = a->m > 1u ? units.begin / groups : 0u, first = (units.begin - row * groups) * size;
    for (uint32_t unit = units.begin; unit < units.end; unit++) {
        const uint32_t count = edgec_p_minu(width - first, size);
        const float *v = a->y + (size_t)row * a->n + first;
        const float top = tops ? a->scale[unit] : edgec_top(v, count, 0.0f);
        int32_t sum;
        a->scale[unit] = edgec_quantize_under(top, v, a->q + (size_t)row * width + first, count, &sum);
        if (a->sums) {
            a->sums[unit] = sum;
        }
        first += size;
        if (first >= width) {
            first = 0;
            row++;
        }
    }
}

/* A core's part in quantising v. */
EDGEC_INLINE void quantize(const edgec_matmul_w4a8_silu_neureka_args *a, const edgec_cut *cut, edgec_parts *p,
                           uint32_t core, uint32_t n_cores) {
    if (EDGEC_SELDOM(cut->groups == 0)) {
        quantize_units(p->a, edgec_share(a->m * edgec_groups(a->n / 2u, a->out_group), core, n_cores), 0);
    } else {
        edgec_parts_quantize(cut, p, a->y, a->q, a->scale, core, n_cores);
    }
}

#endif
