#include "add.h"

void edgec_add(const edgec_add_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->rows * a->k, core, n_cores);
    const float *left = a->a;
    const float *right = a->b;
    float *y = a->y;
    EDGEC_UNROLL_4
    for (uint32_t i = mine.begin; i < mine.end; i++) {
        y[i] = left[i] + right[i];
    }
}
