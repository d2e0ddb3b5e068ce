/* pool: one vector for the rows of a text that comes in runs.
 *
 *     mean     sum += x[r], r ascending, from 0 at position 0;   y = sum * (1 / float32(pos + m))
 *     else     sum = x[0] at position 0;                         y = sum
 *
 * Units: elements of a row. Operands do not overlap.
 */
#ifndef EDGEC_POOL_H
#define EDGEC_POOL_H

#include "edgec_kernel.h"

typedef struct {
    const float *x; /* [m][k] */
    float *sum;     /* [k] */
    float *y;       /* [k] */
    uint32_t m;
    uint32_t k;
    uint32_t pos;
    uint32_t mean;
} edgec_pool_args;

void edgec_pool(const edgec_pool_args *a, uint32_t core, uint32_t n_cores);

#endif
