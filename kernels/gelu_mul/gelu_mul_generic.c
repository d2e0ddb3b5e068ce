#include "gelu_mul.h"

#include "edgec_gelu.h"

void edgec_gelu_mul(const edgec_gelu_mul_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->rows * a->k, core, n_cores);
    const uint32_t row = mine.begin / a->k;
    uint32_t column = mine.begin - row * a->k;
    const float *gate = a->gate + (size_t)row * a->ldx + column;
    const float *up = a->up + (size_t)row * a->ldx + column;
    float *y = a->y + mine.begin;
    const float *end = a->y + mine.end;
    while (y < end) {
        /* Of one row. */
        const float *stop = y + (a->k - column) < end ? y + (a->k - column) : end;
        for (; y < stop; y++) {
            *y = edgec_gelu_of_tanh(*gate++) * *up++;
        }
        column = 0;
        gate += a->ldx - a->k;
        up += a->ldx - a->k;
    }
}
