#include "silu_mul.h"

#include "edgec_math.h"

void edgec_silu_mul(const edgec_silu_mul_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->rows * a->k, core, n_cores);
    for (uint32_t i = mine.begin; i < mine.end; i++) {
        const float gate = a->gate[i];
        a->y[i] = (gate / (1.0f + edgec_exp(-gate))) * a->up[i];
    }
}
