/* copy_rows: y = x. What load_rows and store_rows do beside the transfers from and to the state.
 *
 * Units: elements. y may be the same memory as x, and then nothing is done; partial overlap is not allowed.
 */
#ifndef EDGEC_STATE_ROWS_H
#define EDGEC_STATE_ROWS_H

#include "edgec_kernel.h"

typedef struct {
    const float *x; /* [m][k] */
    float *y;       /* [m][k] */
    uint32_t m;
    uint32_t k;
} edgec_copy_rows_args;

void edgec_copy_rows(const edgec_copy_rows_args *a, uint32_t core, uint32_t n_cores);

#endif
