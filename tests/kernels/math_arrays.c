/* Every function of edgec_math.h, edgec_gelu.h and edgec_silu.h over an array, for test_math.py. x: [n], y: [n]. */
#include "edgec_gelu.h"
#include "edgec_math.h"
#include "edgec_silu.h"

#define EACH(name, from, to, expression)                         \
    void math_##name(const from *x, to *y, uint32_t n);          \
    void math_##name(const from *x, to *y, uint32_t n) {         \
        for (uint32_t i = 0; i < n; i++) {                       \
            y[i] = expression;                                   \
        }                                                        \
    }

EACH(rint_i32, float, int32_t, edgec_rint_i32(x[i]))
EACH(exp, float, float, edgec_exp(x[i]))
EACH(gelu_tanh, float, float, edgec_gelu_of_tanh(x[i]))
EACH(gelu_erf, float, float, edgec_gelu_of_erf(x[i]))
EACH(silu, float, float, edgec_silu(x[i]))
EACH(sigmoid, float, float, edgec_sigmoid(x[i]))
EACH(rsqrt, float, float, edgec_rsqrt(x[i]))
EACH(exp2_q15, int32_t, int32_t, (int32_t)edgec_exp2_q15(x[i]))
EACH(f16_to_f32, uint16_t, float, edgec_f16_to_f32(x[i]))
EACH(f16_from_f32, float, uint16_t, edgec_f16_from_f32(x[i]))

void math_constants(float *y);

/* y: [4] */
void math_constants(float *y) {
    y[0] = EDGEC_LOG2E;
    y[1] = EDGEC_ONE_127TH;
    y[2] = EDGEC_ONE_255TH;
    y[3] = EDGEC_F16_MAX;
}
