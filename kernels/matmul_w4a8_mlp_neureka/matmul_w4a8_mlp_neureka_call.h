/* What the kernels of matmul_w4a8_mlp_neureka.h share: the two calls that it stands for. */
#ifndef EDGEC_MATMUL_W4A8_MLP_NEUREKA_CALL_H
#define EDGEC_MATMUL_W4A8_MLP_NEUREKA_CALL_H

#include "../matmul_w4a8_silu_neureka/matmul_w4a8_silu_neureka_call.h"
#include "matmul_w4a8_mlp_neureka.h"

EDGEC_NEUREKA_BEGINS_WITH(edgec_matmul_w4a8_mlp_neureka_args);

/* Gate's and up's. */
EDGEC_INLINE edgec_matmul_w4a8_silu_neureka_args
edgec_mlp_gated(const edgec_matmul_w4a8_mlp_neureka_args *a) {
    return (edgec_matmul_w4a8_silu_neureka_args){
        a->x,        a->w,     a->acc,    a->shape, a->rest,   a->passes,   a->x_scale,
        a->w_scale,  a->bias,  a->v,      a->m,     a->n,      a->k,        a->group_size,
        a->tile,     a->first, a->groups, a->line,  a->w_tail, a->tail,     a->w_fold,
        a->fold_acc, a->fold,  a->q,      a->scale, NULL,      a->out_group};
}

/* Down's. Its accumulators hold any tiles: they are of all channels and groups. */
EDGEC_INLINE edgec_matmul_w4a8_neureka_args edgec_mlp_down(const edgec_matmul_w4a8_mlp_neureka_args *a) {
    const uint32_t k = a->n / 2u, size = k < a->out_group ? k : a->out_group;
    return (edgec_matmul_w4a8_neureka_args){a->q,
                                            a->down_w,
                                            a->down_acc,
                                            a->down_shape,
                                            a->down_rest,
                                            a->down_passes,
                                            a->scale,
                                            a->down_scale,
                                            NULL,
                                            a->y,
                                            a->m,
                                            a->down_n,
                                            k,
                                            a->out_group,
                                            a->down_n,
                                            a->down_n,
                                            (k + size - 1u) / size,
                                            a->down_line,
                                            NULL,
                                            0,
                                            NULL,
                                            NULL,
                                            0,
                                            a->addend};
}

/* One after the other. */
EDGEC_APART void edgec_mlp_apart(const edgec_matmul_w4a8_mlp_neureka_args *a) {
    const edgec_matmul_w4a8_silu_neureka_args gated = edgec_mlp_gated(a);
    const edgec_matmul_w4a8_neureka_args down = edgec_mlp_down(a);
    edgec_matmul_w4a8_silu_neureka(&gated, 0, 1);
    edgec_matmul_w4a8_neureka(&down, 0, 1);
}

/* The kernel of a width, and that of the 1x1 form: which it is, the jobs' shapes say. */
#define EDGEC_MATMUL_MLP_NEUREKA(name)                                                                       \
    void edgec_matmul_##name(const edgec_matmul_##name##_args *a, uint32_t core, uint32_t n_cores) {         \
        (void)core;                                                                                          \
        (void)n_cores;                                                                                       \
        mlp(a);                                                                                              \
    }

#endif
