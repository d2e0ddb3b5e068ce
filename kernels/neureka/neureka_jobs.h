/* Jobs of N-EUREKA behind each other: two at a time are under way, one running and one ready to follow.
 *
 * neureka_jobs_generic.c computes them with the C model, as late as the contract allows; neureka_jobs_neureka.c gives
 * them to the engine. Until hal_neureka_wait says that a job has ended, its operands must not be written and its
 * results neither read nor written.
 */
#ifndef EDGEC_NEUREKA_JOBS_H
#define EDGEC_NEUREKA_JOBS_H

#include "neureka.h"

/* Rows as pixels: row r is pixel r % width of line r / width. */
typedef struct {
    uint32_t height;
    uint32_t width;
    uint32_t x_bytes; /* from a row of x to the next one */
    uint32_t y_bytes;
} edgec_neureka_grid;

/* Such a job with weights of 8 bits in 1x1 form, without its operands and channels. */
EDGEC_INLINE edgec_neureka_job edgec_neureka_grid_job(uint32_t k, const edgec_neureka_grid *grid) {
    edgec_neureka_job job = edgec_neureka_rows(0, 0, 0, grid->height, grid->width, k, 1, 8);
    job.x_pixel = grid->x_bytes;
    job.x_row = grid->width * grid->x_bytes;
    job.y_pixel = grid->y_bytes;
    job.y_row = grid->width * grid->y_bytes;
    return job;
}

/* What the jobs of a call share is their shape: ROW, or 16 * k + another one of these or the bits of weights in 3x3 form:
 *     ROW       y [n] = W [n][k] x [k] with weights of 8 bits in 1x1 form, for any k; in 3x3 form as edgec_neureka_gemv
 *     GRID      y [rows][n] = x [rows][k] W^T in 1x1 form for the rows of a grid, the same as in the job before the last
 *     NEW_GRID  for the rows of another grid
 *     FOLD      as edgec_neureka_fold; instead of k all that its registers depend on (EDGEC_NEUREKA_FOLD_SHAPE)
 * A place that holds pixels of 16 * k channels says PIXELS_OF. */
enum {
    EDGEC_NEUREKA_GRID,
    EDGEC_NEUREKA_ROW,
    EDGEC_NEUREKA_FOLD = 13,
    EDGEC_NEUREKA_PIXELS_OF,
    EDGEC_NEUREKA_NEW_GRID
};

/* The shape of such a job: bits of weights, inputs (less than 512) and filters. */
#define EDGEC_NEUREKA_FOLD_SHAPE(bits, k, rows) ((rows) << 17 | (k) << 8 | (bits) << 4 | EDGEC_NEUREKA_FOLD)
#define EDGEC_NEUREKA_FOLD_BITS(shape)          ((shape) >> 4 & 15u)
#define EDGEC_NEUREKA_FOLD_INPUTS(shape)        ((shape) >> 8 & 511u)
#define EDGEC_NEUREKA_FOLD_ROWS(shape)          ((shape) >> 17)

/* A job to start: what changes from one to the next, in the form in which the engine takes it. */
typedef struct {
    const int8_t *x;
    const uint8_t *w; /* on the chip in the neural memory */
    int32_t *y;
    uint32_t shape;
    uint32_t rest;   /* 2^16 times the channels of the last pass, and inputs (of a pixel) of the last block */
    uint32_t passes; /* 2^16 times the number of passes, and that of blocks */
    edgec_neureka_grid grid;
} edgec_neureka_next;

/* So many channels. */
EDGEC_INLINE void edgec_neureka_channels(edgec_neureka_next *job, uint32_t n) {
    job->rest = (job->rest & 0xFFFFu) | ((n - 1u) % EDGEC_NEUREKA_PASS + 1u) << 16;
    job->passes = (job->passes & 0xFFFFu) | (n + EDGEC_NEUREKA_PASS - 1u) / EDGEC_NEUREKA_PASS << 16;
}

/* Waits for a free place of the two and starts the job behind those under way. */
void hal_neureka_start(const edgec_neureka_next *job);

/* Pixels times weights that lie in L1, in 1x1 form with weights of 8 bits. */
typedef struct {
    const int8_t *x;
    const uint8_t *w; /* encoded, 32-byte aligned */
    int32_t *y;
    uint32_t cin;
    uint32_t cout;
    uint32_t height; /* pixels */
    uint32_t width;
    uint32_t y_pixel; /* bytes from a pixel's results to the next one's; inputs have no gaps */
} edgec_neureka_pixels;

EDGEC_INLINE edgec_neureka_job edgec_neureka_pixels_job(const edgec_neureka_pixels *p) {
    edgec_neureka_job job = edgec_neureka_rows(p->x, p->w, p->y, p->height, p->width, p->cin, p->cout, 8);
    job.y_pixel = p->y_pixel;
    job.y_row = p->width * p->y_pixel;
    return job;
}

/* hal_neureka_start of such a job in two parts: waits for a free place, takes it and writes the job; then runs it. */
void hal_neureka_write(const edgec_neureka_pixels *job);
void hal_neureka_run(void);

/* Returns when at most `open` jobs are under way. */
void hal_neureka_wait(uint32_t open);

#endif
