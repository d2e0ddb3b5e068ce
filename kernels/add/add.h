/* add: y = a + b, float32 (the residual connection).
 *
 * Units: elements. y may be the same memory as a or b, or both; partial overlap is not allowed.
 */
#ifndef EDGEC_ADD_H
#define EDGEC_ADD_H

#include "edgec_kernel.h"

typedef struct {

    const float *a; /* [rows][k] */
    const float *b; /* [rows][k] */
    float *y;       /* [rows][k] */
    uint32_t rows;
    uint32_t k;
} edgec_add_args;

void edgec_add(const edgec_add_args *a, uint32_t core, uint32_t n_cores);

#endif
