/* rmsnorm_quantize: rmsnorm and quantize_dynamic in one, with the bits of one after the other.
 *
 *     v = (x * gain) * rsqrt(sum(x^2) * inv_k + eps);   then each group of v as in quantize_dynamic
 *
 * The normalised row is not stored: it is computed twice. groups = ceil(k / group_size).
 *
 * Directed: forks rows that are one group each, or groups of all rows, where a core sums up the squares of each row that it
 * has groups of; or of one row the lanes of the sum (edgec_rows.h), then lanes, parts or groups.
 */
#ifndef EDGEC_RMSNORM_QUANTIZE_H
#define EDGEC_RMSNORM_QUANTIZE_H

#include "edgec_kernel.h"

typedef struct {
    const float *x;    /* [rows][k] */
    const float *gain; /* [k] */
    int8_t *q;         /* [rows][k] */
    float *scale;      /* [rows][groups] */
    int32_t *sums;     /* [rows][groups]: sums of q, or NULL */
    uint32_t rows;
    uint32_t k;
    uint32_t group_size;
    float inv_k;
    float eps;
} edgec_rmsnorm_quantize_args;

/* core is 0 and n_cores 1: the forks inside are the HAL's. */
void edgec_rmsnorm_quantize(const edgec_rmsnorm_quantize_args *a, uint32_t core, uint32_t n_cores);

#endif
