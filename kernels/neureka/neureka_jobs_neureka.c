#include "neureka_jobs.h"

#include "neureka_driver.h"

/* What the engine's two places hold. They take turns and keep their registers, so that a job of a shape like that of
 * the job before in its place is five registers. In L1, where the link script puts it: it is read for each job, and
 * loads from L2 are slow. hal_init sets it to 0. */
typedef struct {
    uint32_t turn; /* the place of the next job: 0 or 1 */
    struct {
        uint32_t shape; /* 16 * k + bits in 3x3 form; 16 * k + ROW or GRID in 1x1 form; 0: not written yet */
        uint32_t cin;   /* the low halves of words 15 (size of the last block) and 18 (number of blocks) */
    } place[2];
} places;
extern places hal_neureka_state;

enum { ROW = 1, GRID = 16 }; /* a grid of one row, and of more */
#define IS_3X3(shape) (((shape) & 15u) > ROW)
#define IS_ROW(shape) (((shape) & 15u) == ROW)

/* What differs from job to job of a shape. */
EDGEC_INLINE void start(const int8_t *x, const uint8_t *w, int32_t *y, uint32_t n, uint32_t turn) {
    places *s = &hal_neureka_state;
    const uint32_t cin = s->place[turn].cin;
    edgec_neureka_write(0, edgec_neureka_address(w) - EDGEC_NEUREKA_NEURAL);
    edgec_neureka_write(1, edgec_neureka_address(x));
    edgec_neureka_write(2, edgec_neureka_address(y));
    edgec_neureka_write(15, edgec_neureka_rest(n, EDGEC_NEUREKA_PASS) << 16 | cin >> 16);
    edgec_neureka_write(18, edgec_neureka_tiles(n, EDGEC_NEUREKA_PASS) << 16 | (cin & 0xFFFFu));
    EDGEC_NEUREKA_REGISTER(EDGEC_NEUREKA_BASE + EDGEC_NEUREKA_TRIGGER) = 0;
    s->turn = 1u - turn;
}

EDGEC_INLINE void write_all(const uint32_t *words) {
#pragma GCC unroll 24
    for (uint32_t i = 0; i < EDGEC_NEUREKA_WORDS; i++) {
        edgec_neureka_write(i, words[i]);
    }
}

/* The first job of a shape in its place. The first one at all opens the engine. */
EDGEC_APART void start_shape(const int8_t *x, const uint8_t *w, int32_t *y, uint32_t k, uint32_t n,
                             uint32_t bits) {
    places *s = &hal_neureka_state;
    const uint32_t turn = s->turn;
    const edgec_neureka_job job = edgec_neureka_gemv(0, (const uint8_t *)EDGEC_NEUREKA_NEURAL, 0, k, 1, bits);
    uint32_t words[EDGEC_NEUREKA_WORDS];
    edgec_neureka_registers(&job, words);
    if (!s->place[0].shape) {
        edgec_neureka_open();
    }
    edgec_neureka_acquire();
    if (!IS_3X3(s->place[turn].shape)) {
        write_all(words);
    } else { /* of the others, those that depend on k and bits; strides of outputs matter to no single pixel */
        edgec_neureka_write(6, words[6]);
        edgec_neureka_write(7, words[7]);
        edgec_neureka_write(13, words[13]);
        edgec_neureka_write(21, words[21]);
        edgec_neureka_write(23, words[23]);
    }
    s->place[turn].shape = 16u * k + bits;
    s->place[turn].cin = words[15] << 16 | (words[18] & 0xFFFFu);
    start(x, w, y, n, turn);
}

void hal_neureka_gemv(const int8_t *x, const uint8_t *w, int32_t *y, uint32_t k, uint32_t n, uint32_t bits) {
    const uint32_t turn = hal_neureka_state.turn;
    if (hal_neureka_state.place[turn].shape == 16u * k + bits) {
        edgec_neureka_acquire();
        start(x, w, y, n, turn);
    } else {
        start_shape(x, w, y, k, n, bits);
    }
}

/* The first job in its place of rows as pixels. */
EDGEC_APART void start_grid(const int8_t *x, const uint8_t *w, int32_t *y, uint32_t k, uint32_t n,
                            const edgec_neureka_grid *grid, uint32_t shape) {
    places *s = &hal_neureka_state;
    const uint32_t turn = s->turn;
    edgec_neureka_job job = edgec_neureka_grid_job(k, grid);
    job.w = (const uint8_t *)EDGEC_NEUREKA_NEURAL;
    uint32_t words[EDGEC_NEUREKA_WORDS];
    edgec_neureka_registers(&job, words);
    if (!s->place[0].shape) {
        edgec_neureka_open();
    }
    edgec_neureka_acquire();
    write_all(words);
    s->place[turn].shape = shape;
    s->place[turn].cin = words[15] << 16 | (words[18] & 0xFFFFu);
    start(x, w, y, n, turn);
}

void hal_neureka_row(const int8_t *x, const uint8_t *w, int32_t *y, uint32_t k, uint32_t n) {
    const uint32_t turn = hal_neureka_state.turn, shape = 16u * k + ROW,
                   now = hal_neureka_state.place[turn].shape;
    if (now != shape) {
        if (!IS_ROW(now)) {
            static const edgec_neureka_grid one = {1, 1, 0, 0};
            start_grid(x, w, y, k, n, &one, shape);
            return;
        }
        /* Of a single row, only the number of inputs is new. */
        const uint32_t blocks = edgec_neureka_tiles(k, EDGEC_NEUREKA_CIN_1X1);
        hal_neureka_state.place[turn].shape = shape;
        hal_neureka_state.place[turn].cin = edgec_neureka_rest(k, EDGEC_NEUREKA_CIN_1X1) << 16 | blocks;
        edgec_neureka_acquire();
        edgec_neureka_write(13, EDGEC_NEUREKA_LINE * blocks);
    } else {
        edgec_neureka_acquire();
    }
    start(x, w, y, n, turn);
}

void hal_neureka_rows(const int8_t *x, const uint8_t *w, int32_t *y, uint32_t k, uint32_t n,
                      const edgec_neureka_grid *grid) {
    if (grid) {
        start_grid(x, w, y, k, n, grid, GRID);
    } else {
        edgec_neureka_acquire();
        start(x, w, y, n, hal_neureka_state.turn);
    }
}

void hal_neureka_wait(uint32_t open) {
    edgec_neureka_wait(open);
}
