/* gelu_tanh, gelu_erf: y = x / (1 + exp(-(x * P(x * x)))), float32, with edgec_exp.
 *
 * P is the form's polynomial of edgec_gelu.h.
 * Units: elements. y may be the same memory as x; partial overlap is not allowed.
 */
#ifndef EDGEC_GELU_OP_H
#define EDGEC_GELU_OP_H

#include "edgec_kernel.h"

typedef struct {

    const float *x; /* [rows][k] */
    float *y;       /* [rows][k] */
    uint32_t rows;
    uint32_t k;
} edgec_gelu_tanh_args;

typedef edgec_gelu_tanh_args edgec_gelu_erf_args;

void edgec_gelu_tanh(const edgec_gelu_tanh_args *a, uint32_t core, uint32_t n_cores);
void edgec_gelu_erf(const edgec_gelu_erf_args *a, uint32_t core, uint32_t n_cores);

#endif
