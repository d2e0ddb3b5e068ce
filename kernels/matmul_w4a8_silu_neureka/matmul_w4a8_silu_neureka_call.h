/* What the kernels of matmul_w4a8_silu_neureka.h share, each with a `product` of its own. */
#ifndef EDGEC_MATMUL_W4A8_SILU_NEUREKA_CALL_H
#define EDGEC_MATMUL_W4A8_SILU_NEUREKA_CALL_H

#include "../matmul_w4a8_neureka/matmul_w4a8_neureka_tiles.h"
#include "matmul_w4a8_silu_neureka.h"

/* The arguments of the matmul in it, of which gate and up are two parts. */
EDGEC_INLINE edgec_matmul_w4a8_neureka_args matmul_of(const edgec_matmul_w4a8_silu_neureka_args *a) {
    return (edgec_matmul_w4a8_neureka_args){.x = a->x,
                                            .x_scale = a->x_scale,
                                            .w = a->w,
                                            .w_scale = a->w_scale,
                                            .bias = a->bias,
                                            .acc = a->acc,
                                            .y = a->y,
                                            .m = a->m,
                                            .n = a->n,
                                            .k = a->k,
                                            .group_size = a->group_size,
                                            .tile = a->tile};
}

/* The kernel of a width. */
#define EDGEC_MATMUL_SILU_NEUREKA(name, bits)                                                                \
    void edgec_matmul_##name(const edgec_matmul_##name##_args *a, uint32_t core, uint32_t n_cores) {         \
        (void)core;                                                                                          \
        (void)n_cores;                                                                                       \
        product(a, bits);                                                                                    \
    }

#endif
