/* kv_quantize, the kernel of kv_append: heads of keys or values to int8 with one binary16 scale a head.
 *
 *     scale = binary16(max |x| * (1/127)), saturated at 65504;   q = rint(clamp(x * (1 / scale), -127, 127))
 *
 * The clamp is needed because the scale is rounded after the maximum was divided. A scale of 0 gives q 0.
 * Rows are the heads of one token after another, tokens ldx elements apart; where there is shift, x - shift of its head is quantised.
 * Units: rows.
 */
#ifndef EDGEC_KV_APPEND_H
#define EDGEC_KV_APPEND_H

#include "edgec_kernel.h"

typedef struct {
    const float *x;     /* [rows / heads][ldx] of which [heads][k] is read */
    const float *shift; /* [heads][k], or NULL */
    int8_t *q;          /* [rows][k] */
    uint16_t *scale;    /* [rows], binary16 */
    uint32_t rows;
    uint32_t heads;
    uint32_t k;
    uint32_t ldx;
} edgec_kv_quantize_args;

void edgec_kv_quantize(const edgec_kv_quantize_args *a, uint32_t core, uint32_t n_cores);

#endif
