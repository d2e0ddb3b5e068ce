/* A gate's activation times its partner, element by element: the loop that all activations share. */
#ifndef EDGEC_GATED_H
#define EDGEC_GATED_H

#include "edgec_kernel.h"

/* y [rows][k] = f(gate) * up, this core's share. gate, up: [rows][ldx] of which [rows][k] is read. f is named where
 * this is called, so that it is inlined. */
EDGEC_INLINE void edgec_gated(float (*f)(float), const float *gate, const float *up, float *y, uint32_t rows,
                              uint32_t k, uint32_t ldx, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(rows * k, core, n_cores);
    const uint32_t row = mine.begin / k;
    uint32_t column = mine.begin - row * k;
    gate += (size_t)row * ldx + column;
    up += (size_t)row * ldx + column;
    const float *end = y + mine.end;
    y += mine.begin;
    while (y < end) {
        /* Of one row. */
        const float *stop = y + (k - column) < end ? y + (k - column) : end;
        for (; y < stop; y++) {
            *y = f(*gate++) * *up++;
        }
        column = 0;
        gate += ldx - k;
        up += ldx - k;
    }
}

#endif
