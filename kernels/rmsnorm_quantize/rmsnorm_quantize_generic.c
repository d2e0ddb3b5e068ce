#include "rmsnorm_quantize.h"

#include "edgec_fork.h"
#include "edgec_rows.h"

/* One group of a row whose factor is r; returns the scale. x, gain, q: [count]; sum: NULL if nobody wants it */
static float edgec_normalise_group(const float *x, const float *gain, float r, int8_t *q, uint32_t count,
                                   int32_t *sum) {
    float top = 0.0f;
    EDGEC_UNROLL_4
    for (uint32_t i = 0; i < count; i++) {
        top = edgec_max(edgec_abs(x[i] * gain[i]), top);
    }
    top *= r; /* positive, so products with it are in the order of what they are made of */
    const float inverse = top > 0.0f ? 127.0f / top : 0.0f;
    int32_t total = 0;
    EDGEC_UNROLL_4
    for (uint32_t i = 0; i < count; i++) {
        const int8_t value = (int8_t)edgec_rint_i32(((x[i] * gain[i]) * r) * inverse);
        q[i] = value;
        total += value;
    }
    if (sum) {
        *sum = total;
    }
    return top * EDGEC_ONE_127TH;
}

static void edgec_normalise_groups(const void *args, uint32_t core, uint32_t n_cores) {
    const edgec_rmsnorm_quantize_args *a = args;
    const uint32_t k = a->k;
    const uint32_t groups = (k + a->group_size - 1u) / a->group_size;
    const edgec_range mine = edgec_split(a->rows * groups, core, n_cores);
    uint32_t unit = mine.begin;
    while (unit < mine.end) {
        const uint32_t row = unit / groups;
        const float *x = a->x + (size_t)row * k; /* [k] */
        int8_t *q = a->q + (size_t)row * k;      /* [k] */
        const float r = edgec_rsqrt(edgec_sum_squares(x, k) * a->inv_k + a->eps);
        const uint32_t end = (row + 1u) * groups < mine.end ? (row + 1u) * groups : mine.end;
        for (uint32_t first = (unit - row * groups) * a->group_size; unit < end; unit++) {
            const uint32_t count = k - first < a->group_size ? k - first : a->group_size;
            a->scale[unit] = edgec_normalise_group(x + first, a->gain + first, r, q + first, count,
                                                   a->sums ? &a->sums[unit] : NULL);
            first += count;
        }
    }
}

void edgec_rmsnorm_quantize(const edgec_rmsnorm_quantize_args *a, uint32_t core, uint32_t n_cores) {
    (void)core;
    (void)n_cores;
    hal_fork(edgec_normalise_groups, a);
}
