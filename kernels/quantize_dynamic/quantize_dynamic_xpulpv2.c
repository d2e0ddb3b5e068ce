/* The kernel of quantize_dynamic.h for cores with XpulpV2. */
#include "quantize_dynamic.h"

#include "edgec_rows_xpulpv2.h"

void edgec_quantize_dynamic(const edgec_quantize_dynamic_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t size = a->group_size;
    const uint32_t groups = edgec_groups(a->k, size);
    const edgec_range mine = edgec_share(a->rows * groups, core, n_cores);
    uint32_t group = mine.begin;
    size_t at = (size_t)group * size; /* first element of the group */
    if (a->rows > 1u) {
        group = mine.begin % groups;
        at = (size_t)(mine.begin / groups) * a->k + group * size;
    }
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t count = edgec_p_minu(a->k - group * size, size);
        int32_t sum;
        const float *x = a->x + at;
        a->scale[unit] = edgec_quantize_under(edgec_top(x, count, 0.0f), x, a->q + at, count, &sum);
        if (a->sums) {
            a->sums[unit] = sum;
        }
        at += count;
        group = group + 1u < groups ? group + 1u : 0u;
    }
}
