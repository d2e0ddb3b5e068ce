/* layernorm: y = ((x - mean) * rsqrt(sum((x - mean)^2) * inv_k + eps)) * gain + bias, per row, with edgec_rsqrt.
 *
 * mean = sum(x) * inv_k. Both sums have a written order: eight lanes (element i in lane i % 8), each ascending from
 * 0; then lanes j and j+4 are added, then j and j+2, then the last two. inv_k is float32(1/k).
 * Units: rows. y may be the same memory as x; partial overlap is not allowed.
 */
#ifndef EDGEC_LAYERNORM_H
#define EDGEC_LAYERNORM_H

#include "edgec_kernel.h"

typedef struct {

    const float *x;    /* [rows][k] */
    const float *gain; /* [k] */
    const float *bias; /* [k] */
    float *y;          /* [rows][k] */
    uint32_t rows;
    uint32_t k;
    float inv_k;
    float eps;
} edgec_layernorm_args;

void edgec_layernorm(const edgec_layernorm_args *a, uint32_t core, uint32_t n_cores);

#endif
