/* last_row: y = the last of m rows.
 *
 * Units: elements of the row. y does not overlap x.
 */
#ifndef EDGEC_LAST_ROW_H
#define EDGEC_LAST_ROW_H

#include "edgec_kernel.h"

typedef struct {

    const float *x; /* [m][k] */
    float *y;       /* [k] */
    uint32_t m;
    uint32_t k;
} edgec_last_row_args;

void edgec_last_row(const edgec_last_row_args *a, uint32_t core, uint32_t n_cores);

#endif
