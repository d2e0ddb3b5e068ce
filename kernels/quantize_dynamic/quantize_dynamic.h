/* quantize_dynamic: float32 rows to int8 with one scale a row.
 *
 *     scale = max |x| * (1/127);   q = rint(x * (127 / max |x|)), ties to even
 *
 * A row of zeros has scale 0 and q 0. Units: rows (all of a row goes to one core).
 */
#ifndef EDGEC_QUANTIZE_DYNAMIC_H
#define EDGEC_QUANTIZE_DYNAMIC_H

#include "edgec_kernel.h"

typedef struct {

    const float *x; /* [rows][k] */
    int8_t *q;      /* [rows][k] */
    float *scale;   /* [rows] */
    uint32_t rows;
    uint32_t k;
} edgec_quantize_dynamic_args;

void edgec_quantize_dynamic(const edgec_quantize_dynamic_args *a, uint32_t core, uint32_t n_cores);

#endif
