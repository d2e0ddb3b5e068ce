/* silu_mul_quantize: silu_mul and quantize_dynamic in one, with the bits of one after the other.
 *
 * Rows of gate and up are ldx elements apart: the two may be the halves of one matrix's rows. gate is used up: what is
 * quantised takes its place. groups = ceil(k / group_size).
 *
 * Directed: forks groups of all rows, or of one row with few groups parts, first for what is quantised.
 */
#ifndef EDGEC_SILU_MUL_QUANTIZE_H
#define EDGEC_SILU_MUL_QUANTIZE_H

#include "edgec_kernel.h"

typedef struct {
    float *gate;     /* [rows][ldx] of which [rows][k] is read and used up */
    const float *up; /* [rows][ldx] of which [rows][k] is read */
    int8_t *q;       /* [rows][k] */
    float *scale;    /* [rows][groups] */
    int32_t *sums;   /* [rows][groups]: sums of q, or NULL */
    uint32_t rows;
    uint32_t k;
    uint32_t ldx;
    uint32_t group_size;
} edgec_silu_mul_quantize_args;

/* core is 0 and n_cores 1: the forks inside are the HAL's. */
void edgec_silu_mul_quantize(const edgec_silu_mul_quantize_args *a, uint32_t core, uint32_t n_cores);

#endif
