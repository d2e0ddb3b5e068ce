/* What kernels on rows of floats share: the sum of squares in its written order, a group's quantisation. */
#ifndef EDGEC_ROWS_H
#define EDGEC_ROWS_H

#include "edgec_kernel.h"
#include "edgec_math.h"

/* Sum of squares of x [k]: eight lanes (element i in lane i % 8), each ascending; then lanes j and j+4 are added, then
 * j and j+2, then the last two. */
static inline float edgec_sum_squares(const float *x, uint32_t k) {
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

/* Quantises x [count], whose largest magnitude is `top`, to q [count]; returns the scale, and the sum of q. */
static inline float edgec_quantize_below(float top, const float *x, int8_t *q, uint32_t count, int32_t *sum) {
    const float inverse = edgec_bits(top) ? 127.0f / top : 0.0f;
    int32_t total = 0;
    const float *end = x + count;
    EDGEC_UNROLL_4
    for (; x < end; x++) {
        const int8_t value = (int8_t)edgec_rint_i32(*x * inverse);
        *q++ = value;
        total += value;
    }
    *sum = total;
    return top * EDGEC_ONE_127TH;
}

/* Quantises x [count] to q [count]; returns the scale, and the sum of q. */
static inline float edgec_quantize_group(const float *x, int8_t *q, uint32_t count, int32_t *sum) {
    float top = 0.0f;
    EDGEC_UNROLL_4
    for (const float *at = x; at < x + count; at++) {
        top = edgec_max(edgec_abs(*at), top);
    }
    return edgec_quantize_below(top, x, q, count, sum);
}

#endif
