/* matmul_w2a8_neureka ... matmul_w8a8_neureka: matmul_w4a8 with weights that N-EUREKA reads where they lie.
 *
 *     acc[g]  = sum over k in group g of (u[n][k] - 2^(bits-1)) * x[m][k]                            int32, exact
 *     y[m][n] = sum over g, ascending, of float32(acc[g]) * (w_scale[n][g] * x_scale[m][g])  (+ bias[n])
 *
 * and where there is an addend:  y[m][n] = addend[m][n] + y[m][n].
 *
 * Not forked: core 0 starts the engine's jobs, and forks the scaling of what the engine has done while it works on more
 * (matmul_w4a8_neureka_tiles.h). A job has a row's inputs of one group and at most `tile` channels, or in 1x1 form those
 * of all rows; w holds the encoded weights [groups][n][line], line = ceil(size / 252) * bits * 32 bytes for groups of
 * `size` inputs, all equal, or ceil(size / 32) * 32 bytes in 1x1 form. acc holds the accumulators of `slots` tiles: all,
 * but at most three; it is scratch. y may be the same memory as addend. Up to 8 bytes behind x are read and not used.
 *
 * The last `tail` inputs of each group, a multiple of 4, may be the cores' in 3x3 form: then w has the weights of the others,
 * which are whole blocks of 252, groups are of a multiple of 4 inputs, and x is 4-byte aligned.
 *
 * Of one group in 3x3 form, `size` inputs between the whole blocks and those of the cores may be folded: the engine
 * multiplies them in a job of their own, of all channels (edgec_neureka_fold), which follows the first one, and the cores
 * add what it gives, fold_acc. It is scratch. Nine channels share a filter: filters = ceil(n / 9), of fold_line =
 * ceil(size / 28) * bits * 32 bytes.
 */
#ifndef EDGEC_MATMUL_W4A8_NEUREKA_H
#define EDGEC_MATMUL_W4A8_NEUREKA_H

#include "edgec_kernel.h"

typedef struct {
    const int8_t *x;  /* [m][k] */
    const uint8_t *w; /* [groups][n][line], encoded, 32-byte aligned */
    int32_t *acc;     /* [slots][m][groups][tile] */
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
    uint32_t tile;        /* channels at most, a multiple of 32 or all (n) */
    uint32_t first;       /* channels of the first tile: at most those, a multiple of 32 or all */
    uint32_t groups;      /* ceil(k / group_size) */
    uint32_t line;        /* bytes of a channel's weights of a group */
    const int8_t *w_tail; /* [n][groups][tail], 4-byte aligned, or NULL */
    uint32_t tail;
    const uint8_t *w_fold; /* [filters][fold_line], encoded, 32-byte aligned, or NULL */
    int32_t *fold_acc;     /* [m][9][filters], or NULL */
    uint32_t fold;         /* the shape of jobs of the folded inputs (neureka_jobs.h), or 0 */
    const float *addend;   /* [m][n], or NULL */
} edgec_matmul_w4a8_neureka_args;

/* One layout of arguments for all widths. */
typedef edgec_matmul_w4a8_neureka_args edgec_matmul_w2a8_neureka_args;
typedef edgec_matmul_w4a8_neureka_args edgec_matmul_w3a8_neureka_args;
typedef edgec_matmul_w4a8_neureka_args edgec_matmul_w5a8_neureka_args;
typedef edgec_matmul_w4a8_neureka_args edgec_matmul_w6a8_neureka_args;
typedef edgec_matmul_w4a8_neureka_args edgec_matmul_w7a8_neureka_args;
typedef edgec_matmul_w4a8_neureka_args edgec_matmul_w8a8_neureka_args;
typedef edgec_matmul_w4a8_neureka_args edgec_matmul_w8a8_neureka_1x1_args;

/* core is 0 and n_cores 1: the fork inside is the HAL's. */
void edgec_matmul_w2a8_neureka(const edgec_matmul_w2a8_neureka_args *a, uint32_t core, uint32_t n_cores);
void edgec_matmul_w3a8_neureka(const edgec_matmul_w3a8_neureka_args *a, uint32_t core, uint32_t n_cores);
void edgec_matmul_w4a8_neureka(const edgec_matmul_w4a8_neureka_args *a, uint32_t core, uint32_t n_cores);
void edgec_matmul_w5a8_neureka(const edgec_matmul_w5a8_neureka_args *a, uint32_t core, uint32_t n_cores);
void edgec_matmul_w6a8_neureka(const edgec_matmul_w6a8_neureka_args *a, uint32_t core, uint32_t n_cores);
void edgec_matmul_w7a8_neureka(const edgec_matmul_w7a8_neureka_args *a, uint32_t core, uint32_t n_cores);
void edgec_matmul_w8a8_neureka(const edgec_matmul_w8a8_neureka_args *a, uint32_t core, uint32_t n_cores);
void edgec_matmul_w8a8_neureka_1x1(const edgec_matmul_w8a8_neureka_1x1_args *a, uint32_t core,
                                   uint32_t n_cores);

#endif
