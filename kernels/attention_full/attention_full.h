/* attention_full: attention.h's kernels with a softmax in which every row sees the same positions.
 *
 *     attention_softmax_full   as attention_softmax, over positions 0 .. length - 1
 *
 * length is 1 or more and at most `positions`; p is 0 from length to positions. s is used up.
 * Units: heads of all rows. No two arguments overlap.
 */
#ifndef EDGEC_ATTENTION_FULL_H
#define EDGEC_ATTENTION_FULL_H

#include "edgec_kernel.h"

typedef struct {
    float *s;                /* [m][n_heads][lds] */
    const uint16_t *v_scale; /* [positions][n_kv_heads], binary16, >= 0 */
    const int32_t *length;   /* [1] */
    uint8_t *p;              /* [m][n_heads][lds] */
    float *p_scale;          /* [m][n_heads] */
    uint32_t m;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t positions;
    uint32_t lds;
} edgec_attention_softmax_full_args;

void edgec_attention_softmax_full(const edgec_attention_softmax_full_args *a, uint32_t core,
                                  uint32_t n_cores);

#endif
