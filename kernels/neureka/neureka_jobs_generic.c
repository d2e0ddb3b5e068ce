#include "neureka_jobs.h"

static edgec_neureka_job places[2];
static uint32_t started, ended; /* jobs; number n lies in places[n % 2] */

void hal_neureka_wait(uint32_t open) {
    while (started - ended > open) {
        edgec_neureka_run(&places[ended++ % 2u]);
    }
}

void hal_neureka_start(const edgec_neureka_next *next) {
    const uint32_t k = next->shape / 16u, form = next->shape % 16u;
    hal_neureka_wait(1);
    edgec_neureka_job *job = &places[started++ % 2u];
    if (form == EDGEC_NEUREKA_NEW_GRID) {
        *job = edgec_neureka_grid_job(k, &next->grid);
    } else if (form == EDGEC_NEUREKA_ROW) {
        const uint32_t blocks = next->passes & 0xFFFFu;
        const uint32_t inputs = (blocks - 1u) * EDGEC_NEUREKA_CIN_1X1 + (next->rest & 0xFFFFu);
        *job = edgec_neureka_rows(0, 0, 0, 1, 1, inputs, 1, 8);
    } else if (form == EDGEC_NEUREKA_FOLD) {
        *job = edgec_neureka_fold(0, 0, 0, EDGEC_NEUREKA_FOLD_INPUTS(next->shape),
                                  EDGEC_NEUREKA_FOLD_ROWS(next->shape), EDGEC_NEUREKA_FOLD_BITS(next->shape));
    } else if (form != EDGEC_NEUREKA_GRID) {
        *job = edgec_neureka_gemv(0, 0, 0, k, 1, form);
    }
    job->x = (const uint8_t *)next->x;
    job->w = next->w;
    job->y = next->y;
    job->cout =
        ((next->passes >> 16) - 1u) * EDGEC_NEUREKA_PASS + (next->rest >> 16); /* as the engine sees it */
}

void hal_neureka_write(const edgec_neureka_pixels *job) {
    hal_neureka_wait(1);
    places[started % 2u] = edgec_neureka_pixels_job(job);
}

void hal_neureka_run(void) {
    started++;
}
