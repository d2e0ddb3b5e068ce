#include "neureka_jobs.h"

#include "neureka_driver.h"

/* What the engine's two places hold. They take turns and keep their registers, so that a job of a shape like that of
 * the job before in its place is five registers. In L1, where the link script puts it: it is read for each job, and
 * loads from L2 are slow. hal_init sets it to 0. */
typedef struct {
    uint32_t turn; /* the place of the next job: 0 or 1 */
    struct {
        uint32_t shape; /* 16 * k + bits; 0: not written yet */
        uint32_t cin;   /* the low halves of words 15 (size of the last block) and 18 (number of blocks) */
    } place[2];
} places;
extern places hal_neureka_state;

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
    if (!s->place[turn].shape) {
#pragma GCC unroll 24
        for (uint32_t i = 0; i < EDGEC_NEUREKA_WORDS; i++) {
            edgec_neureka_write(i, words[i]);
        }
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

void hal_neureka_wait(uint32_t open) {
    edgec_neureka_wait(open);
}
