/* rope: rotary position embedding, element i of a head paired with element i + head_dim/2.
 *
 *     y[i] = x[i] * c - x[i + half] * s;   y[i + half] = x[i + half] * c + x[i] * s
 *     c = float32(table[i]) * unit;        s = float32(table[half + i]) * unit
 *
 * The table's rows are those of the m positions. head_dim is even. Rows of x are ldx elements apart.
 * Units: heads of all rows. y may be the same memory as x where ldx = heads * head_dim; partial overlap is not
 * allowed.
 */
#ifndef EDGEC_ROPE_H
#define EDGEC_ROPE_H

#include "edgec_kernel.h"

typedef struct {

    const float *x;       /* [m][ldx] of which [m][heads][head_dim] is read */
    const int16_t *table; /* [m][head_dim]: half cosines, half sines */
    float *y;             /* [m][heads][head_dim] */
    uint32_t m;
    uint32_t heads;
    uint32_t head_dim;
    uint32_t ldx;
    float unit;
} edgec_rope_args;

void edgec_rope(const edgec_rope_args *a, uint32_t core, uint32_t n_cores);

#endif
