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

/* Rows as pixels: row r is pixel r % width of line r / width. */
typedef struct {
    uint32_t height;
    uint32_t width;
    uint32_t x_bytes; /* from a row of x to the next one */
    uint32_t y_bytes;
} edgec_neureka_grid;

/* Such a job, without its operands and channels. */
EDGEC_INLINE edgec_neureka_job edgec_neureka_grid_job(uint32_t k, const edgec_neureka_grid *grid) {
    edgec_neureka_job job = edgec_neureka_rows(0, 0, 0, grid->height, grid->width, k, 1, 8);
    job.x_pixel = grid->x_bytes;
    job.x_row = grid->width * grid->x_bytes;
    job.y_pixel = grid->y_bytes;
    job.y_row = grid->width * grid->y_bytes;
    return job;
}

/* The same with weights of 8 bits in 1x1 form. */
void hal_neureka_row(const int8_t *x, const uint8_t *w, int32_t *y, uint32_t k, uint32_t n);

/* The same for all rows of a grid, of which there are several, with weights of 8 bits in 1x1 form: y [rows][n] = x [rows][k] W^T. grid NULL: that of
 * the job before the last, which had as many inputs. */
void hal_neureka_rows(const int8_t *x, const uint8_t *w, int32_t *y, uint32_t k, uint32_t n,
                      const edgec_neureka_grid *grid);

/* Returns when at most `open` jobs are under way. */
void hal_neureka_wait(uint32_t open);

#endif
