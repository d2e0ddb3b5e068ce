#include "silu_mul_quantize.h"

#include "edgec_rows.h"

void edgec_silu_mul_quantize(const edgec_silu_mul_quantize_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t groups = (a->k + a->group_size - 1u) / a->group_size;
    const edgec_range mine = edgec_split(a->rows * groups, core, n_cores);
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t row = unit / groups;
        const uint32_t first = (unit - row * groups) * a->group_size;
        const uint32_t count = a->k - first < a->group_size ? a->k - first : a->group_size;
        float *gate = a->gate + (size_t)row * a->ldx + first;   /* [count] */
        const float *up = a->up + (size_t)row * a->ldx + first; /* [count] */
        for (uint32_t i = 0; i < count; i++) {
            gate[i] = edgec_silu(gate[i]) * up[i];
        }
        a->scale[unit] = edgec_quantize_group(gate, a->q + (size_t)row * a->k + first, count, &a->sums[unit]);
    }
}
