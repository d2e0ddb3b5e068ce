/* x * Phi(x) of one element: the C twin of gelu() in edgec/ops/gelu.py, which says where the polynomials are from. */
#ifndef EDGEC_GELU_H
#define EDGEC_GELU_H

#include "edgec_math.h"

/* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
static inline float edgec_gelu_of_tanh(float x) {
    const float z = x * x;
    const float p = 0.071354816272f * z + 1.5957691216f;
    return x / (1.0f + edgec_exp(-(x * p)));
}

/* 0.5 x (1 + erf(x / sqrt(2))) within 2.5e-7, or that share of a result above 1 */
static inline float edgec_gelu_of_erf(float x) {
    const float z = edgec_min(x * x, 30.25f);
    float p = 3.61122792e-9f;
    p = p * z + -2.66892595e-7f;
    p = p * z + 7.93821522e-6f;
    p = p * z + -1.10480289e-4f;
    p = p * z + -6.62600822e-5f;
    p = p * z + 7.26685672e-2f;
    p = p * z + 1.59576843f;
    return x / (1.0f + edgec_exp(-(x * p)));
}

#endif
