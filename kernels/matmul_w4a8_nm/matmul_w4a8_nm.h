/* matmul_w2a8_nm ... matmul_w8a8_nm: int8 activations times packed 2- to 8-bit weights of which `removed` of
 * every `of` consecutive ones of a row are zero and not stored. A kernel for each width and pattern, named
 * edgec_matmul_w<bits>a8_<removed>_<of>; kept = of - removed.
 *
 *     acc[g]  = sum over kept k in group g of (u[n][k] - zero[n][g]) * x[m][k]                  int32, exact
 *     y[m][n] = sum over g, ascending, of float32(acc[g]) * (w_scale[n][g] * x_scale[m][g])  (+ bias[n])
 *
 * zero = 2^(bits-1) where w_zero is NULL. These are matmul_w4a8's bits for the matrix with its zeros: what is
 * removed adds nothing to an integer sum. The sums of x do not help here, as every row keeps other inputs.
 *
 * Patterns removed:of are 1:2, 2:4, 3:4, 4:8, 6:8, 8:16 and 12:16. `of` divides group_size (unless that is
 * larger than k) and k. The type rule guarantees that no accumulator overflows; |x| <= 127.
 *
 * The kept codes of a group, in ascending order of input, are packed in units of 8, the last one padded with
 * zeros. A unit of codes takes `bits` bytes: planes of 8, 4, 2 or 1 bits as in edgec_unpack.h, p bytes each,
 * with element j in byte j % p at bit p * (j / p). Their places lie beside them, a unit for a unit. Bits
 * count from the lowest of the first byte:
 *
 *     1:2 2:4 3:4 6:8 12:16     log2(of) bits a code: its input within its window of `of`
 *     4:8 8:16                  of bits a window: bit i is set if its input i is kept
 *
 * For example 2:4, a unit of 16 inputs in 2 bytes: i0 | i1<<2 | i2<<4 | i3<<6, i4 | i5<<2 | i6<<4 | i7<<6,
 * where codes 0 and 1 belong to x[i0] and x[i1], codes 2 and 3 to x[4 + i2] and x[4 + i3], and so on.
 *
 * addend, if there is one, is added last; y may be the same memory as addend. Rows of both are ldy elements apart;
 * elements between them stay. Units: output channels n.
 */
#ifndef EDGEC_MATMUL_W4A8_NM_H
#define EDGEC_MATMUL_W4A8_NM_H

#include "edgec_kernel.h"

typedef struct {
    const int8_t *x;         /* [m][k] */
    const float *x_scale;    /* [m][groups] */
    const uint8_t *w;        /* [n][units][bits], kept codes */
    const uint8_t *w_pos;    /* [n][units][bytes of a unit], places */
    const uint16_t *w_scale; /* [n][groups], binary16 */
    const uint8_t *w_zero;   /* [n][groups], or NULL */
    const float *bias;       /* [n], or NULL */
    const float *addend;     /* [m][ldy], or NULL */
    float *y;                /* [m][ldy] of which [m][n] is written */
    uint32_t m;
    uint32_t n;
    uint32_t k;
    uint32_t group_size;
    uint32_t ldy;
} edgec_matmul_w4a8_nm_args;

/* One layout of arguments for all widths and patterns. */
#define EDGEC_NM_KERNEL(bits, removed, of)                                                                   \
    typedef edgec_matmul_w4a8_nm_args edgec_matmul_w##bits##a8_##removed##_##of##_args;                      \
    void edgec_matmul_w##bits##a8_##removed##_##of(                                                          \
        const edgec_matmul_w##bits##a8_##removed##_##of##_args *a, uint32_t core, uint32_t n_cores);
#define EDGEC_NM_KERNELS(bits)                                                                               \
    EDGEC_NM_KERNEL(bits, 1, 2)                                                                              \
    EDGEC_NM_KERNEL(bits, 2, 4)                                                                              \
    EDGEC_NM_KERNEL(bits, 3, 4)                                                                              \
    EDGEC_NM_KERNEL(bits, 4, 8)                                                                              \
    EDGEC_NM_KERNEL(bits, 6, 8)                                                                              \
    EDGEC_NM_KERNEL(bits, 8, 16)                                                                             \
    EDGEC_NM_KERNEL(bits, 12, 16)

EDGEC_NM_KERNELS(2)
EDGEC_NM_KERNELS(3)
EDGEC_NM_KERNELS(4)
EDGEC_NM_KERNELS(5)
EDGEC_NM_KERNELS(6)
EDGEC_NM_KERNELS(7)
EDGEC_NM_KERNELS(8)

#endif
