/* quantize_dynamic: float32 rows to int8 in groups, one scale a row and group; and the sums of groups.
 *
 *     scale = max |x| * (1/127);   q = rint(x * (127 / max |x|)), ties to even
 *
 * max |x| is over one group: group_size elements of a row, the last group may be shorter. A group of zeros
 * has scale 0 and q 0. groups = ceil(k / group_size).
 *
 * Directed: forks groups of all rows, or of one row with few groups parts, first for their largest magnitudes.
 */
#ifndef EDGEC_QUANTIZE_DYNAMIC_H
#define EDGEC_QUANTIZE_DYNAMIC_H

#include "edgec_kernel.h"

typedef struct {

    const float *x; /* [rows][k] */
    int8_t *q;      /* [rows][k] */
    float *scale;   /* [rows][groups] */
    int32_t *sums;  /* [rows][groups]: sums of q, or NULL */
    uint32_t rows;
    uint32_t k;
    uint32_t group_size;
} edgec_quantize_dynamic_args;

/* core is 0 and n_cores 1: the forks inside are the HAL's. */
void edgec_quantize_dynamic(const edgec_quantize_dynamic_args *a, uint32_t core, uint32_t n_cores);

#endif
