#include "neureka_jobs.h"

static edgec_neureka_job places[2];
static uint32_t started, ended; /* jobs; number n lies in places[n % 2] */

void hal_neureka_wait(uint32_t open) {
    while (started - ended > open) {
        edgec_neureka_run(&places[ended++ % 2u]);
    }
}

void hal_neureka_gemv(const int8_t *x, const uint8_t *w, int32_t *y, uint32_t k, uint32_t n, uint32_t bits) {
    hal_neureka_wait(1);
    places[started++ % 2u] = edgec_neureka_gemv(x, w, y, k, n, bits);
}

void hal_neureka_rows(const int8_t *x, const uint8_t *w, int32_t *y, uint32_t k, uint32_t n,
                      const edgec_neureka_grid *grid) {
    hal_neureka_wait(1);
    edgec_neureka_job *job = &places[started++ % 2u];
    if (grid) {
        *job = edgec_neureka_grid_job(k, grid);
    }
    job->x = (const uint8_t *)x;
    job->w = w;
    job->y = y;
    job->cout = n;
}

void hal_neureka_row(const int8_t *x, const uint8_t *w, int32_t *y, uint32_t k, uint32_t n) {
    hal_neureka_wait(1);
    places[started++ % 2u] = edgec_neureka_rows(x, w, y, 1, 1, k, n, 8);
}
