#include "rmsnorm.h"

#include "edgec_math.h"

/* Sum of squares of x [k] in the written order. */
static float edgec_rmsnorm_squares(const float *x, uint32_t k) {
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f, s4 = 0.0f, s5 = 0.0f, s6 = 0.0f, s7 = 0.0f;
    uint32_t i = 0;
    for (; i + 8u <= k; i += 8u) {
        s0 += x[i] * x[i];
        s1 += x[i + 1] * x[i + 1];
        s2 += x[i + 2] * x[i + 2];
        s3 += x[i + 3] * x[i + 3];
        s4 += x[i + 4] * x[i + 4];
        s5 += x[i + 5] * x[i + 5];
        s6 += x[i + 6] * x[i + 6];
        s7 += x[i + 7] * x[i + 7];
    }
    float lane[8] = {s0, s1, s2, s3, s4, s5, s6, s7};
    for (uint32_t j = 0; i < k; i++, j++) {
        lane[j] += x[i] * x[i];
    }
    for (uint32_t j = 0; j < 4; j++) {
        lane[j] += lane[j + 4];
    }
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

void edgec_rmsnorm(const edgec_rmsnorm_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->rows, core, n_cores);
    const uint32_t k = a->k;
    const float *gain = a->gain;
    for (uint32_t row = mine.begin; row < mine.end; row++) {
        const float *x = a->x + (size_t)row * k; /* [k] */
        float *y = a->y + (size_t)row * k;       /* [k] */
        const float r = edgec_rsqrt(edgec_rmsnorm_squares(x, k) * a->inv_k + a->eps);
        EDGEC_UNROLL_4
        for (uint32_t i = 0; i < k; i++) {
            y[i] = (x[i] * r) * gain[i];
        }
    }
}
