#include "silu_mul.h"

#include "edgec_gated.h"
#include "edgec_silu.h"

void edgec_silu_mul(const edgec_silu_mul_args *a, uint32_t core, uint32_t n_cores) {
    edgec_gated(edgec_silu, a->gate, a->up, a->y, a->rows, a->k, a->ldx, core, n_cores);
}
