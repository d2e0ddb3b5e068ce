#include "gelu.h"

#include "edgec_gelu.h"

void edgec_gelu_tanh(const edgec_gelu_tanh_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->rows * a->k, core, n_cores);
    for (uint32_t i = mine.begin; i < mine.end; i++) {
        a->y[i] = edgec_gelu_of_tanh(a->x[i]);
    }
}

void edgec_gelu_erf(const edgec_gelu_erf_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->rows * a->k, core, n_cores);
    for (uint32_t i = mine.begin; i < mine.end; i++) {
        a->y[i] = edgec_gelu_of_erf(a->x[i]);
    }
}
