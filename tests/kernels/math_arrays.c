/* Every function of edgec_math.h, edgec_gelu.h and edgec_silu.h over an array, for test_math.py. x: [n], y: [n]. */
#include "edgec_gelu.h"
#include "edgec_math.h"
#include "edgec_silu.h"

void math_rint_i32(const float *x, int32_t *y, uint32_t n);
void math_exp(const float *x, float *y, uint32_t n);
void math_gelu_tanh(const float *x, float *y, uint32_t n);
void math_gelu_erf(const float *x, float *y, uint32_t n);
void math_silu(const float *x, float *y, uint32_t n);
void math_sigmoid(const float *x, float *y, uint32_t n);
void math_rsqrt(const float *x, float *y, uint32_t n);
void math_exp2_q15(const int32_t *x, int32_t *y, uint32_t n);
void math_f16_to_f32(const uint16_t *x, float *y, uint32_t n);
void math_f16_from_f32(const float *x, uint16_t *y, uint32_t n);
void math_constants(float *y);

void math_rint_i32(const float *x, int32_t *y, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        y[i] = edgec_rint_i32(x[i]);
    }
}

void math_exp(const float *x, float *y, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        y[i] = edgec_exp(x[i]);
    }
}

void math_gelu_tanh(const float *x, float *y, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        y[i] = edgec_gelu_of_tanh(x[i]);
    }
}

void math_gelu_erf(const float *x, float *y, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        y[i] = edgec_gelu_of_erf(x[i]);
    }
}

void math_silu(const float *x, float *y, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        y[i] = edgec_silu(x[i]);
    }
}

void math_sigmoid(const float *x, float *y, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        y[i] = edgec_sigmoid(x[i]);
    }
}

void math_rsqrt(const float *x, float *y, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        y[i] = edgec_rsqrt(x[i]);
    }
}

void math_exp2_q15(const int32_t *x, int32_t *y, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        y[i] = (int32_t)edgec_exp2_q15(x[i]);
    }
}

void math_f16_to_f32(const uint16_t *x, float *y, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        y[i] = edgec_f16_to_f32(x[i]);
    }
}

void math_f16_from_f32(const float *x, uint16_t *y, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        y[i] = edgec_f16_from_f32(x[i]);
    }
}

/* y: [4] */
void math_constants(float *y) {
    y[0] = EDGEC_LOG2E;
    y[1] = EDGEC_ONE_127TH;
    y[2] = EDGEC_ONE_65025TH;
    y[3] = EDGEC_F16_MAX;
}
