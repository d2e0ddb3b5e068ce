#include "rmsnorm.h"

#include "edgec_rows.h"

void edgec_rmsnorm(const edgec_rmsnorm_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->rows, core, n_cores);
    const uint32_t k = a->k;
    const float *gain = a->gain;
    for (uint32_t row = mine.begin; row < mine.end; row++) {
        const float *x = a->x + (size_t)row * k; /* [k] */
        float *y = a->y + (size_t)row * k;       /* [k] */
        const float r = edgec_rsqrt(edgec_sum_squares(x, k) * a->inv_k + a->eps);
        EDGEC_UNROLL_4
        for (uint32_t i = 0; i < k; i++) {
            y[i] = (x[i] * gain[i]) * r;
        }
    }
}
