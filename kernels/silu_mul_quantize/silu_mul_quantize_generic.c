#include "silu_mul_quantize.h"

#include "edgec_fork.h"
#include "edgec_rows.h"
#include "edgec_silu.h"

static void edgec_silu_groups(const void *args, uint32_t core, uint32_t n_cores) {
    const edgec_silu_mul_quantize_args *a = args;
    const uint32_t groups = (a->k + a->group_size - 1u) / a->group_size;
    const edgec_range mine = edgec_split(a->rows * groups, core, n_cores);
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t row = unit / groups;
        const uint32_t first = (unit - row * groups) * a->group_size;
        const uint32_t count = a->k - first < a->group_size ? a->k - first : a->group_size;
        float *gate = a->gate + (size_t)row * a->ldx + first;   /* [count] */
        const float *up = a->up + (size_t)row * a->ldx + first; /* [count] */
        float top = 0.0f;
        for (float *at = gate; at < gate + count; at++) {
            *at = edgec_silu(*at) * *up++;
            top = edgec_max(edgec_abs(*at), top);
        }
        int32_t sum;
        a->scale[unit] = edgec_quantize_below(top, gate, a->q + (size_t)row * a->k + first, count, &sum);
        if (a->sums) {
            a->sums[unit] = sum;
        }
    }
}

void edgec_silu_mul_quantize(const edgec_silu_mul_quantize_args *a, uint32_t core, uint32_t n_cores) {
    (void)core;
    (void)n_cores;
    hal_fork(edgec_silu_groups, a);
}
