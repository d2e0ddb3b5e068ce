/* add_positions: y = x + float32(table): learned position embeddings.
 *
 * The table's rows are those of the m positions, of binary16.
 * Units: elements. y may be the same memory as x; partial overlap is not allowed.
 */
#ifndef EDGEC_ADD_POSITIONS_H
#define EDGEC_ADD_POSITIONS_H

#include "edgec_kernel.h"

typedef struct {

    const float *x;        /* [m][k] */
    const uint16_t *table; /* [m][k] */
    float *y;              /* [m][k] */
    uint32_t m;
    uint32_t k;
} edgec_add_positions_args;

void edgec_add_positions(const edgec_add_positions_args *a, uint32_t core, uint32_t n_cores);

#endif
