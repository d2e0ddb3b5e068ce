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

EDGEC_MATMUL_NEUREKA(w2a8_neureka, 2)
EDGEC_MATMUL_NEUREKA(w3a8_neureka, 3)
EDGEC_MATMUL_NEUREKA(w4a8_neureka, 4)
EDGEC_MATMUL_NEUREKA(w5a8_neureka, 5)
EDGEC_MATMUL_NEUREKA(w6a8_neureka, 6)
EDGEC_MATMUL_NEUREKA(w7a8_neureka, 7)
EDGEC_MATMUL_NEUREKA(w8a8_neureka, 8)
EDGEC_MATMUL_NEUREKA(w8a8_neureka_1x1, 0)
