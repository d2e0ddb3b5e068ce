/* matmul_w2a8 ... matmul_w8a8: int8 activations times packed 2- to 8-bit weights.
 *
 *     acc[g]  = sum over k in group g of u[n][k] * x[m][k]  -  zero[n][g] * x_sums[m][g]      int32, exact
 *     y[m][n] = sum over g, ascending, of float32(acc[g]) * (w_scale[n][g] * x_scale[m][g])  (+ bias[n])
 *
 * zero = 2^(bits-1) where w_zero is NULL. With w_min, which excludes w_zero, y goes on behind
 * the bias, g ascending again, with
 *
 *     + float32(x_sums[m][g]) * ((2^(bits-1) * w_scale[n][g] + w_min[n][g]) * x_scale[m][g])
 *
 * Last of all, where there is an addend:  y[m][n] = addend[m][n] + y[m][n].
 *
 * The type rule guarantees min(k, group_size) * (2^bits - 1) * 127
 * < 2^31, so that no accumulator overflows; |x| <= 127 and x_sums are those of x (from quantize_dynamic).
 * Packing: edgec_unpack.h. groups = ceil(k / group_size), the last may be shorter; row_bytes is the sum of
 * its groups' bytes, always a multiple of 4. w is 4-byte aligned, x need not be.
 * Rows of y and of addend are ldy elements apart; elements between them stay. y may be the same memory as
 * addend. Units: output channels n.
 */
#ifndef EDGEC_MATMUL_W4A8_H
#define EDGEC_MATMUL_W4A8_H

#include "edgec_kernel.h"

typedef struct {

    const int8_t *x;         /* [m][k] */
    const float *x_scale;    /* [m][groups] */
    const int32_t *x_sums;   /* [m][groups] */
    const uint8_t *w;        /* [n][row_bytes], packed */
    const uint16_t *w_scale; /* [n][groups], binary16 */
    const uint8_t *w_zero;   /* [n][groups], or NULL */
    const uint16_t *w_min;   /* [n][groups], binary16, or NULL */
    const float *bias;       /* [n], or NULL */
    const float *addend;     /* [m][ldy], or NULL */
    float *y;                /* [m][ldy] of which [m][n] is written */
    uint32_t m;
    uint32_t n;
    uint32_t k;
    uint32_t group_size;
    uint32_t ldy;
} edgec_matmul_w4a8_args;

/* One layout of arguments for all widths. */
typedef edgec_matmul_w4a8_args edgec_matmul_w2a8_args;
typedef edgec_matmul_w4a8_args edgec_matmul_w3a8_args;
typedef edgec_matmul_w4a8_args edgec_matmul_w5a8_args;
typedef edgec_matmul_w4a8_args edgec_matmul_w6a8_args;
typedef edgec_matmul_w4a8_args edgec_matmul_w7a8_args;
typedef edgec_matmul_w4a8_args edgec_matmul_w8a8_args;

void edgec_matmul_w2a8(const edgec_matmul_w2a8_args *a, uint32_t core, uint32_t n_cores);
void edgec_matmul_w3a8(const edgec_matmul_w3a8_args *a, uint32_t core, uint32_t n_cores);
void edgec_matmul_w4a8(const edgec_matmul_w4a8_args *a, uint32_t core, uint32_t n_cores);
void edgec_matmul_w5a8(const edgec_matmul_w5a8_args *a, uint32_t core, uint32_t n_cores);
void edgec_matmul_w6a8(const edgec_matmul_w6a8_args *a, uint32_t core, uint32_t n_cores);
void edgec_matmul_w7a8(const edgec_matmul_w7a8_args *a, uint32_t core, uint32_t n_cores);
void edgec_matmul_w8a8(const edgec_matmul_w8a8_args *a, uint32_t core, uint32_t n_cores);

#endif
