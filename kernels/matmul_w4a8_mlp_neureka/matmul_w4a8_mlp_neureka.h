/* matmul_w2a8_mlp_neureka ... matmul_w8a8_mlp_neureka: a gated MLP of one row, matmul_w4a8_silu_neureka of gate and up and
 * matmul_w4a8_neureka of down in one, with the bits of one after the other.
 *
 *     q, scale = what matmul_w4a8_silu_neureka gives of x [k] and w, groups of out_group elements
 *     y [down_n] = what matmul_w4a8_neureka gives of those and down_w, with groups of as many inputs
 *
 * Directed by core 0. Where v has some long groups, a group of it is multiplied by down's matrix as soon as it is
 * quantised: the accelerator works on the groups before while the cores compute the last one, and does not wait between
 * the two products. Else one call follows the other.
 *
 * m is 1, n even. acc, v, q, scale and down_acc are scratch. down_line: bytes of a channel's weights of a group of down;
 * the last group's jobs have channels as tiles of matmul_w4a8_neureka do, the first one down_first.
 * slots, groups and out_groups as in matmul_w4a8_silu_neureka.h. y may be the same memory as addend. Up to 8 bytes behind x
 * and q, and 4 behind acc, v and w_scale, are read and not used.
 */
#ifndef EDGEC_MATMUL_W4A8_MLP_NEUREKA_H
#define EDGEC_MATMUL_W4A8_MLP_NEUREKA_H

#include "edgec_kernel.h"

typedef struct {
    const int8_t *x;  /* [m][k] */
    const uint8_t *w; /* [groups][n][line], encoded, 32-byte aligned */
    int32_t *acc;     /* [slots][2][m][groups][tile] */
    uint32_t shape;   /* of the jobs of gate and up, and words of the first one (neureka_jobs.h) */
    uint32_t rest;
    uint32_t passes;
    const float *x_scale;    /* [m][groups] */
    const uint16_t *w_scale; /* [n][groups], binary16 */
    const float *bias;       /* [n], or NULL */
    float *v;                /* [m][n] */
    uint32_t m;
    uint32_t n;
    uint32_t k;
    uint32_t group_size;
    uint32_t tile;
    uint32_t first;
    uint32_t groups; /* ceil(k / group_size) */
    uint32_t line;   /* bytes of a channel's weights of a group */
    const int8_t
        *w_tail; /* [n][groups][tail], or NULL: as in matmul_w4a8_neureka.h; down has no such inputs */
    uint32_t tail;
    const uint8_t *w_fold; /* [filters][fold_line], or NULL: as there, as fold_acc and fold */
    int32_t *fold_acc;     /* [m][9][filters], or NULL */
    uint32_t fold;
    int8_t *q;    /* [m][n / 2] */
    float *scale; /* [m][out_groups] */
    uint32_t out_group;
    const uint8_t *down_w;      /* [out_groups][down_n][down_line], encoded, 32-byte aligned */
    const uint16_t *down_scale; /* [down_n][out_groups], binary16 */
    int32_t *down_acc;          /* [out_groups][down_n] */
    const float *addend;        /* [m][down_n], or NULL */
    float *y;                   /* [m][down_n] */
    uint32_t down_n;
    uint32_t down_first;
    uint32_t down_line;
    uint32_t down_shape; /* of down's jobs, and words of one of all channels */
    uint32_t down_rest;
    uint32_t down_passes;
} edgec_matmul_w4a8_mlp_neureka_args;

/* One layout of arguments for all widths. */
typedef edgec_matmul_w4a8_mlp_neureka_args edgec_matmul_w2a8_mlp_neureka_args;
typedef edgec_matmul_w4a8_mlp_neureka_args edgec_matmul_w3a8_mlp_neureka_args;
typedef edgec_matmul_w4a8_mlp_neureka_args edgec_matmul_w5a8_mlp_neureka_args;
typedef edgec_matmul_w4a8_mlp_neureka_args edgec_matmul_w6a8_mlp_neureka_args;
typedef edgec_matmul_w4a8_mlp_neureka_args edgec_matmul_w7a8_mlp_neureka_args;
typedef edgec_matmul_w4a8_mlp_neureka_args edgec_matmul_w8a8_mlp_neureka_args;
typedef edgec_matmul_w4a8_mlp_neureka_args edgec_matmul_w8a8_mlp_neureka_1x1_args;

/* core is 0 and n_cores 1: the fork inside is the HAL's. */
void edgec_matmul_w2a8_mlp_neureka(const edgec_matmul_w2a8_mlp_neureka_args *a, uint32_t core,
                                   uint32_t n_cores);
void edgec_matmul_w3a8_mlp_neureka(const edgec_matmul_w3a8_mlp_neureka_args *a, uint32_t core,
                                   uint32_t n_cores);
void edgec_matmul_w4a8_mlp_neureka(const edgec_matmul_w4a8_mlp_neureka_args *a, uint32_t core,
                                   uint32_t n_cores);
void edgec_matmul_w5a8_mlp_neureka(const edgec_matmul_w5a8_mlp_neureka_args *a, uint32_t core,
                                   uint32_t n_cores);
void edgec_matmul_w6a8_mlp_neureka(const edgec_matmul_w6a8_mlp_neureka_args *a, uint32_t core,
                                   uint32_t n_cores);
void edgec_matmul_w7a8_mlp_neureka(const edgec_matmul_w7a8_mlp_neureka_args *a, uint32_t core,
                                   uint32_t n_cores);
void edgec_matmul_w8a8_mlp_neureka(const edgec_matmul_w8a8_mlp_neureka_args *a, uint32_t core,
                                   uint32_t n_cores);
void edgec_matmul_w8a8_mlp_neureka_1x1(const edgec_matmul_w8a8_mlp_neureka_1x1_args *a, uint32_t core,
                                       uint32_t n_cores);

#endif
