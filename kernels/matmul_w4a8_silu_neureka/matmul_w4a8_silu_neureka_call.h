/* What the kernels of matmul_w4a8_silu_neureka.h share, each with a `product` of its own. */
#ifndef EDGEC_MATMUL_W4A8_SILU_NEUREKA_CALL_H
#define EDGEC_MATMUL_W4A8_SILU_NEUREKA_CALL_H

#include "../matmul_w4a8_neureka/matmul_w4a8_neureka_tiles.h"
#include "matmul_w4a8_silu_neureka.h"

EDGEC_NEUREKA_BEGINS_WITH(edgec_matmul_w4a8_silu_neureka_args);

/* The kernel of a width. */
#define EDGEC_MATMUL_SILU_NEUREKA(name)                                                                      \
    void edgec_matmul_##name(const edgec_matmul_##name##_args *a, uint32_t core, uint32_t n_cores) {         \
        (void)core;                                                                                          \
        (void)n_cores;                                                                                       \
        product(a);                                                                                          \
    }

#endif
