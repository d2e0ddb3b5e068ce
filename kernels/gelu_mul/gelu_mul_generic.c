#include "gelu_mul.h"

#include "edgec_gated.h"
#include "edgec_gelu.h"

void edgec_gelu_mul(const edgec_gelu_mul_args *a, uint32_t core, uint32_t n_cores) {
    edgec_gated(edgec_gelu_of_tanh, a->gate, a->up, a->y, a->rows, a->k, a->ldx, core, n_cores);
}
