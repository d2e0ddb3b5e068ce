/* Jobs of N-EUREKA behind each other: two at a time are under way, one running and one ready to follow.
 *
 * neureka_jobs_generic.c computes them with the C model, as late as the contract allows; neureka_jobs_neureka.c gives
 * them to the engine. Until hal_neureka_wait says that a job has ended, its operands must not be written and its
 * results neither read nor written.
 */
#ifndef EDGEC_NEUREKA_JOBS_H
#define EDGEC_NEUREKA_JOBS_H

#include "neureka.h"

/* Waits for a free place of the two and starts y [n] = W [n][k] x [k] behind the jobs under way: edgec_neureka_gemv.
 * On the chip w lies in the neural memory. */
void hal_neureka_gemv(const int8_t *x, const uint8_t *w, int32_t *y, uint32_t k, uint32_t n, uint32_t bits);

/* Returns when at most `open` jobs are under way. */
void hal_neureka_wait(uint32_t open);

#endif
