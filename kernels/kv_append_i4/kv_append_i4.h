/* kv_quantize_i4, the kernel of kv_append_i4: heads of keys or values to 4 bits with one binary16 scale a head.
 *
 *     scale = binary16(max |x| * (1/7)), saturated at 65504;   u = rint(clamp(x * (1 / scale), -7, 7)) + 8
 *
 * Elements i and i + k/2, a rotary pair, share a byte: the first in its low half. A scale of 0 gives u 8, a zero.
 * k is even. Rows are the heads of one token after another, tokens ldx elements apart; where there is shift, x - shift of its head is quantised.
 * Units: rows.
 */
#ifndef EDGEC_KV_APPEND_I4_H
#define EDGEC_KV_APPEND_I4_H

#include "edgec_kernel.h"

typedef struct {
    const float *x;     /* [rows / heads][ldx] of which [heads][k] is read */
    const float *shift; /* [heads][k], or NULL */
    uint8_t *q;         /* [rows][k / 2] */
    uint16_t *scale;    /* [rows], binary16 */
    uint32_t rows;
    uint32_t heads;
    uint32_t k;
    uint32_t ldx;
} edgec_kv_quantize_i4_args;

void edgec_kv_quantize_i4(const edgec_kv_quantize_i4_args *a, uint32_t core, uint32_t n_cores);

#endif
