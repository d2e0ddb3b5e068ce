/* rmsnorm: y = (x * gain) * rsqrt(sum(x^2) * inv_k + eps), per row, with edgec_rsqrt.
 *
 * The sum has a written order (edgec_sum_squares). inv_k is float32(1/k).
 * Units: rows. y may be the same memory as x; partial overlap is not allowed.
 */
#ifndef EDGEC_RMSNORM_H
#define EDGEC_RMSNORM_H

#include "edgec_kernel.h"

typedef struct {
    const float *x;    /* [rows][k] */
    const float *gain; /* [k] */
    float *y;          /* [rows][k] */
    uint32_t rows;
    uint32_t k;
    float inv_k;
    float eps;
} edgec_rmsnorm_args;

void edgec_rmsnorm(const edgec_rmsnorm_args *a, uint32_t core, uint32_t n_cores);

#endif
