/* silu_mul: y = gate * sigmoid(gate) * up, float32, as edgec_silu.h has it.
 *
 * Rows of gate and up are ldx elements apart: the two may be the halves of one matrix's rows.
 * Units: elements. y may be the same memory as gate or up where ldx = k; partial overlap is not allowed.
 */
#ifndef EDGEC_SILU_MUL_H
#define EDGEC_SILU_MUL_H

#include "edgec_kernel.h"

typedef struct {
    const float *gate; /* [rows][ldx] of which [rows][k] is read */
    const float *up;   /* [rows][ldx] of which [rows][k] is read */
    float *y;          /* [rows][k] */
    uint32_t rows;
    uint32_t k;
    uint32_t ldx;
} edgec_silu_mul_args;

void edgec_silu_mul(const edgec_silu_mul_args *a, uint32_t core, uint32_t n_cores);

#endif
