/* The kernel of silu_mul_quantize.h for cores with XpulpV2. */
#include "silu_mul_quantize.h"

#include "edgec_silu_xpulpv2.h"

void edgec_silu_mul_quantize(const edgec_silu_mul_quantize_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t groups = edgec_groups(a->k, a->group_size);
    const edgec_range mine = edgec_share(a->rows * groups, core, n_cores);
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        EDGEC_ANEW(a);
        const uint32_t row = a->rows > 1u ? unit / groups : 0u;
        const uint32_t first = (unit - row * groups) * a->group_size;
        const uint32_t count = edgec_p_minu(a->k - first, a->group_size);
        const size_t at = (size_t)row * a->ldx + first;
        float *gate = a->gate + at; /* [count] */
        const float top = edgec_silu_row(gate, a->up + at, gate, count, 0.0f);
        a->scale[unit] =
            edgec_quantize_under(top, gate, a->q + (size_t)row * a->k + first, count, &a->sums[unit]);
    }
}
