/* matmul_w2a8_silu_neureka ... matmul_w8a8_silu_neureka: matmul_w4a8_neureka of gate and up, silu_mul and quantize_dynamic in
 * one, with the bits of one after the other.
 *
 *     y = the matmul's [m][n], as in matmul_w4a8_neureka.h; gate and up are its left and right halves
 *     v = silu(gate) * up;   then each group of v [m][n / 2] as in quantize_dynamic, out_group elements a group
 *
 * Directed by core 0, which wakes a team: while the accelerator multiplies the channels of a tile, the same of gate and of
 * up, the cores scale those of the tile before and compute its v; when all tiles are done, they quantise. n is even.
 * acc holds the accumulators of `slots` tiles: all, but at most three; acc and y are scratch. groups =
 * ceil(k / group_size), out_groups = ceil((n / 2) / out_group). Up to 8 bytes behind x, and 4 behind acc, y and
 * w_scale, are read and not used.
 */
#ifndef EDGEC_MATMUL_W4A8_SILU_NEUREKA_H
#define EDGEC_MATMUL_W4A8_SILU_NEUREKA_H

#include "edgec_kernel.h"

typedef struct {
    const int8_t *x;  /* [m][k] */
    const uint8_t *w; /* [groups][n][line], encoded, 32-byte aligned */
    int32_t *acc;     /* [slots][2][m][groups][tile] */
    uint32_t shape;   /* of the jobs, and words of the first one (neureka_jobs.h) */
    uint32_t rest;
    uint32_t passes;
    const float *x_scale;    /* [m][groups] */
    const uint16_t *w_scale; /* [n][groups], binary16 */
    const float *bias;       /* [n], or NULL */
    float *y;                /* [m][n] */
    uint32_t m;
    uint32_t n;
    uint32_t k;
    uint32_t group_size;
    uint32_t tile;        /* channels at most, a multiple of 32 or all (n / 2) */
    uint32_t first;       /* channels of the first tile: at most those, a multiple of 32 or all */
    uint32_t groups;      /* ceil(k / group_size) */
    uint32_t line;        /* bytes of a channel's weights of a group */
    const int8_t *w_tail; /* [n][groups][tail], or NULL: as in matmul_w4a8_neureka.h */
    uint32_t tail;
    const uint8_t *w_fold; /* [filters][fold_line], or NULL: as there, as fold_acc and fold */
    int32_t *fold_acc;     /* [m][9][filters], or NULL */
    uint32_t fold;
    int8_t *q;     /* [m][n / 2] */
    float *scale;  /* [m][out_groups] */
    int32_t *sums; /* [m][out_groups]: sums of q, or NULL */
    uint32_t out_group;
} edgec_matmul_w4a8_silu_neureka_args;

/* One layout of arguments for all widths. */
typedef edgec_matmul_w4a8_silu_neureka_args edgec_matmul_w2a8_silu_neureka_args;
typedef edgec_matmul_w4a8_silu_neureka_args edgec_matmul_w3a8_silu_neureka_args;
typedef edgec_matmul_w4a8_silu_neureka_args edgec_matmul_w5a8_silu_neureka_args;
typedef edgec_matmul_w4a8_silu_neureka_args edgec_matmul_w6a8_silu_neureka_args;
typedef edgec_matmul_w4a8_silu_neureka_args edgec_matmul_w7a8_silu_neureka_args;
typedef edgec_matmul_w4a8_silu_neureka_args edgec_matmul_w8a8_silu_neureka_args;
typedef edgec_matmul_w4a8_silu_neureka_args edgec_matmul_w8a8_silu_neureka_1x1_args;

/* core is 0 and n_cores 1: the fork inside is the HAL's. */
void edgec_matmul_w2a8_silu_neureka(const edgec_matmul_w2a8_silu_neureka_args *a, uint32_t core,
                                    uint32_t n_cores);
void edgec_matmul_w3a8_silu_neureka(const edgec_matmul_w3a8_silu_neureka_args *a, uint32_t core,
                                    uint32_t n_cores);
void edgec_matmul_w4a8_silu_neureka(const edgec_matmul_w4a8_silu_neureka_args *a, uint32_t core,
                                    uint32_t n_cores);
void edgec_matmul_w5a8_silu_neureka(const edgec_matmul_w5a8_silu_neureka_args *a, uint32_t core,
                                    uint32_t n_cores);
void edgec_matmul_w6a8_silu_neureka(const edgec_matmul_w6a8_silu_neureka_args *a, uint32_t core,
                                    uint32_t n_cores);
void edgec_matmul_w7a8_silu_neureka(const edgec_matmul_w7a8_silu_neureka_args *a, uint32_t core,
                                    uint32_t n_cores);
void edgec_matmul_w8a8_silu_neureka(const edgec_matmul_w8a8_silu_neureka_args *a, uint32_t core,
                                    uint32_t n_cores);
void edgec_matmul_w8a8_silu_neureka_1x1(const edgec_matmul_w8a8_silu_neureka_1x1_args *a, uint32_t core,
                                        uint32_t n_cores);

#endif
