#include "quantize_dynamic.h"

#include "edgec_fork.h"
#include "edgec_rows.h"

static void edgec_quantize_groups(const void *args, uint32_t core, uint32_t n_cores) {
    const edgec_quantize_dynamic_args *a = args;
    const uint32_t groups = (a->k + a->group_size - 1u) / a->group_size;
    const edgec_range mine = edgec_split(a->rows * groups, core, n_cores);
    uint32_t group = mine.begin % groups;
    size_t at = (size_t)(mine.begin / groups) * a->k + group * a->group_size; /* first element of the group */
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t left = a->k - group * a->group_size;
        const uint32_t count = left < a->group_size ? left : a->group_size;
        int32_t sum;
        a->scale[unit] = edgec_quantize_group(a->x + at, a->q + at, count, &sum);
        if (a->sums) {
            a->sums[unit] = sum;
        }
        at += count;
        group = group + 1u < groups ? group + 1u : 0u;
    }
}

void edgec_quantize_dynamic(const edgec_quantize_dynamic_args *a, uint32_t core, uint32_t n_cores) {
    (void)core;
    (void)n_cores;
    hal_fork(edgec_quantize_groups, a);
}
