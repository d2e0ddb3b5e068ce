#include "matmul_w4a8_neureka_tiles.h"

static void scale(const void *args, uint32_t core, uint32_t n_cores) {
    const edgec_neureka_call *c = args;
    if (edgec_neureka_scales(c, &core, &n_cores)) {
        edgec_neureka_scale(c, edgec_split(c->out->count, core, n_cores));
    }
}

EDGEC_APART void matmul(const edgec_matmul_w4a8_neureka_args *a, uint32_t bits) {
    edgec_neureka_direct(a, bits, scale);
}

EDGEC_MATMUL_NEUREKA(2)
EDGEC_MATMUL_NEUREKA(3)
EDGEC_MATMUL_NEUREKA(4)
EDGEC_MATMUL_NEUREKA(5)
EDGEC_MATMUL_NEUREKA(6)
EDGEC_MATMUL_NEUREKA(7)
EDGEC_MATMUL_NEUREKA(8)
