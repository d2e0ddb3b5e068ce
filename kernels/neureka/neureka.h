/* N-EUREKA, the neural engine of Siracusa: a job, what it computes, and the registers that carry it.
 *
 * A job is a 3x3 or 1x1 convolution of height * width output pixels, 8-bit inputs, unsigned weights with one
 * offset for the job:
 *
 *     y[i, j, n] = sum over r, s, c of x[i + r, j + s, c] * (u[n, r, s, c] + offset)
 *
 * int32, or requantised: y * scale[n], plus bias[n] and cut to 32 bits where there is a bias, shifted right,
 * clamped to int8 or uint8. The weights are encoded (edgec/neureka/encode.py); a line is 32 bytes:
 *
 *     3x3   w [cout][ceil(cin / 28)][bits] lines: bit 28 * position + channel of line b is bit b of the weight
 *     1x1   w [cout][ceil(cin / 32)] lines: bit 32 * (c / 4) + 4 * b + c % 4 is bit b of weight c
 *
 * edgec_neureka_gemv and edgec_neureka_rows fill a job in for what language models need: W x of one token as a
 * 3x3 job of one pixel, whose image of 9 * cin inputs is the vector, and W x of some tokens as a 1x1 job. Of few inputs
 * edgec_neureka_fold: they are one pixel amid zeros, nine output pixels see it at another filter position each, so nine
 * channels share a filter, and channel p * rows + v is the output of pixel p and filter v.
 *
 * edgec_neureka_run is the engine's C model: it computes a job on any host, bit for bit what
 * edgec/neureka/model.py does. On the chip, neureka_driver.h gives the job to the engine. Limits are checked by
 * the compiler (edgec/neureka/limits.py), not here: outputs overlap no input, weights are 32-byte aligned, and
 * on the chip x, y, scale and bias lie in L1 and w in L1 or in the neural memory.
 *
 * The engine reads more than it uses: up to 36 bytes of each pixel, scales by the word, biases for a multiple of
 * 32 channels. The RTL always loads 8x8 pixels (6x6 in 1x1 mode), used or not.
 */
#ifndef EDGEC_NEUREKA_H
#define EDGEC_NEUREKA_H

#include "edgec_kernel.h"

#define EDGEC_NEUREKA_PIXELS  6u  /* rows and columns of output pixels of a pass */
#define EDGEC_NEUREKA_BUFFER  8u  /* rows and columns of inputs of a pass in 3x3 mode */
#define EDGEC_NEUREKA_FOLDED  9u  /* channels that share a filter */
#define EDGEC_NEUREKA_PASS    32u /* output channels of a pass */
#define EDGEC_NEUREKA_CIN_3X3 28u /* input channels of a block */
#define EDGEC_NEUREKA_CIN_1X1 32u
#define EDGEC_NEUREKA_LINE    32u /* bytes of a line of weights */

enum { EDGEC_NEUREKA_INT32, EDGEC_NEUREKA_INT8, EDGEC_NEUREKA_UINT8 };

typedef struct {
    const uint8_t *x;    /* [height (+ 2)][width (+ 2)][cin] int8 or uint8, with the strides below */
    const uint8_t *w;    /* encoded weights */
    void *y;             /* [height][width][cout] of the output type, with the strides below */
    const void *scale;   /* [cout] uint8 or uint32; NULL for int32 outputs */
    const int32_t *bias; /* [cout], or NULL */
    uint32_t cin;
    uint32_t cout;
    uint32_t height; /* output pixels */
    uint32_t width;
    uint32_t x_pixel; /* bytes from a pixel to the next one */
    uint32_t x_row;   /* bytes from a row of pixels to the next one */
    uint32_t y_pixel;
    uint32_t y_row;
    int32_t offset;     /* usually -2^(bits-1) */
    uint8_t filter;     /* 3 or 1 */
    uint8_t bits;       /* of weights: 2 to 8 */
    uint8_t x_signed;   /* 1: int8, 0: uint8 */
    uint8_t output;     /* EDGEC_NEUREKA_INT32, _INT8 or _UINT8 */
    uint8_t scale_bits; /* 8 or 32; 0 for int32 outputs */
    uint8_t shift;      /* 0 to 31 */
    uint8_t prefetch;   /* load inputs while multiplying; changes no result */
    uint8_t border;     /* rows and columns of x at each side that count as zeros; of a 3x3 job of one pass */
} edgec_neureka_job;

/* Channels of the 3x3 image that a vector of k inputs is. Where 9 does not divide k, up to 8 bytes behind the
 * vector are read; their weights are zero. */
static inline uint32_t edgec_neureka_gemv_cin(uint32_t k) {
    return (k + 8u) / 9u;
}

/* y [n] = W [n][k] x [k], one token. */
static inline edgec_neureka_job edgec_neureka_gemv(const int8_t *x, const uint8_t *w, int32_t *y, uint32_t k,
                                                   uint32_t n, uint32_t bits) {
    const uint32_t cin = edgec_neureka_gemv_cin(k);
    return (edgec_neureka_job){.x = (const uint8_t *)x,
                               .w = w,
                               .y = y,
                               .cin = cin,
                               .cout = n,
                               .height = 1,
                               .width = 1,
                               .x_pixel = cin,
                               .x_row = 3u * cin,
                               .y_pixel = 4u * n,
                               .y_row = 4u * n,
                               .offset = -(1 << (bits - 1u)),
                               .filter = 3,
                               .bits = (uint8_t)bits,
                               .x_signed = 1,
                               .prefetch = 1};
}

/* y [n] = W [n][k] x [k], one token, by `rows` filters of nine channels each: n <= 9 * rows. */
static inline edgec_neureka_job edgec_neureka_fold(const int8_t *x, const uint8_t *w, int32_t *y, uint32_t k,
                                                   uint32_t rows, uint32_t bits) {
    return (edgec_neureka_job){.x = (const uint8_t *)x,
                               .w = w,
                               .y = y,
                               .cin = k,
                               .cout = rows,
                               .height = 3,
                               .width = 3,
                               .y_pixel = 4u * rows,
                               .y_row = 12u * rows,
                               .offset = -(1 << (bits - 1u)),
                               .filter = 3,
                               .bits = (uint8_t)bits,
                               .x_signed = 1,
                               .prefetch = 1,
                               .border = 2};
}

/* y [height * width][n] = x [height * width][k] W^T, a token for each pixel; rows are as long as what they hold. */
static inline edgec_neureka_job edgec_neureka_rows(const int8_t *x, const uint8_t *w, int32_t *y,
                                                   uint32_t height, uint32_t width, uint32_t k, uint32_t n,
                                                   uint32_t bits) {
    return (edgec_neureka_job){.x = (const uint8_t *)x,
                               .w = w,
                               .y = y,
                               .cin = k,
                               .cout = n,
                               .height = height,
                               .width = width,
                               .x_pixel = k,
                               .x_row = width * k,
                               .y_pixel = 4u * n,
                               .y_row = 4u * width * n,
                               .offset = -(1 << (bits - 1u)),
                               .filter = 1,
                               .bits = (uint8_t)bits,
                               .x_signed = 1,
                               .prefetch = 1};
}

/* Computes the job. */
void edgec_neureka_run(const edgec_neureka_job *job);

#endif
