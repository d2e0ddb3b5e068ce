#include "layernorm.h"

#include "edgec_math.h"

/* What a row's sums add up: its elements, or the squares of their distances from the mean. */
EDGEC_INLINE float edgec_term(float x, float mean, uint32_t squared) {
    return squared ? (x - mean) * (x - mean) : x;
}

/* Sum over x [k] in the header's order. */
EDGEC_INLINE float edgec_sum(const float *x, uint32_t k, float mean, uint32_t squared) {
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f, s4 = 0.0f, s5 = 0.0f, s6 = 0.0f, s7 = 0.0f;
    uint32_t i = 0;
    for (; i + 8u <= k; i += 8u) {
        s0 += edgec_term(x[i], mean, squared);
        s1 += edgec_term(x[i + 1], mean, squared);
        s2 += edgec_term(x[i + 2], mean, squared);
        s3 += edgec_term(x[i + 3], mean, squared);
        s4 += edgec_term(x[i + 4], mean, squared);
        s5 += edgec_term(x[i + 5], mean, squared);
        s6 += edgec_term(x[i + 6], mean, squared);
        s7 += edgec_term(x[i + 7], mean, squared);
    }
    float lane[8] = {s0, s1, s2, s3, s4, s5, s6, s7};
    for (uint32_t j = 0; i < k; i++, j++) {
        lane[j] += edgec_term(x[i], mean, squared);
    }
    for (uint32_t j = 0; j < 4; j++) {
        lane[j] += lane[j + 4];
    }
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

void edgec_layernorm(const edgec_layernorm_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->rows, core, n_cores);
    const uint32_t k = a->k;
    const float *gain = a->gain;
    const float *bias = a->bias;
    for (uint32_t row = mine.begin; row < mine.end; row++) {
        const float *x = a->x + (size_t)row * k; /* [k] */
        float *y = a->y + (size_t)row * k;       /* [k] */
        const float mean = edgec_sum(x, k, 0.0f, 0) * a->inv_k;
        const float r = edgec_rsqrt(edgec_sum(x, k, mean, 1) * a->inv_k + a->eps);
        EDGEC_UNROLL_4
        for (uint32_t i = 0; i < k; i++) {
            y[i] = ((x[i] - mean) * r) * gain[i] + bias[i];
        }
    }
}
