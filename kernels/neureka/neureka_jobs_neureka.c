#include "neureka_jobs.h"

#include "neureka_driver.h"

/* The places take turns and keep their registers, so that a job of a shape like that of the job before in its place is
 * five registers, or six in a row of the 1x1 form. In L1, where the link script puts it: it is read for each job, and
 * loads from L2 are slow. hal_init sets it to 0. */
typedef struct {
    uint32_t shape; /* of the job that it holds, a new grid as GRID; 0: not written yet */
    uint32_t grid;  /* 2^16 times its height, and its width, in 1x1 form; else 0 */
} place;
typedef struct {
    uint32_t turn; /* bytes from the first place to that of the next job */
    place places[2];
    uint32_t opened;
} state;
extern state hal_neureka_state;

/* Takes a place and writes all words of a job that does not know its operands and channels yet. Inlined, for a known filter
 * divides by known sizes. */
EDGEC_INLINE void write_job(const edgec_neureka_job *job) {
    uint32_t words[EDGEC_NEUREKA_WORDS];
    edgec_neureka_registers(job, words);
    edgec_neureka_acquire();
#pragma GCC unroll 24
    for (uint32_t i = 0; i < EDGEC_NEUREKA_WORDS; i++) {
        edgec_neureka_write(i, words[i]);
    }
}

/* Of a row in 3x3 form, or of folded inputs, with so many bits a weight. */
EDGEC_APART void write_all(uint32_t shape, uint32_t bits) {
    edgec_neureka_job job = edgec_neureka_gemv(0, 0, 0, shape / 16u, 1, bits);
    if (shape % 16u == EDGEC_NEUREKA_FOLD) {
        job = edgec_neureka_fold(0, 0, 0, EDGEC_NEUREKA_FOLD_INPUTS(shape), EDGEC_NEUREKA_FOLD_ROWS(shape),
                                 bits);
    }
    job.w = (const uint8_t *)EDGEC_NEUREKA_NEURAL;
    write_job(&job);
}

/* The words that depend on a width. */
EDGEC_APART void write_bits(uint32_t bits) {
    const edgec_neureka_job job = edgec_neureka_gemv(0, (const uint8_t *)EDGEC_NEUREKA_NEURAL, 0, 1, 1, bits);
    uint32_t words[EDGEC_NEUREKA_WORDS];
    edgec_neureka_registers(&job, words);
    edgec_neureka_write(21, words[21]);
    edgec_neureka_write(23, words[23]);
}

#define PIXEL  (1u << 16 | 1u) /* height and width */
#define FILTER (3u << 16 | 3u)
#define FRAMED                                                                                               \
    (5u << 16 | 5u) /* a pixel with a border of two, which end 5 before the end of the engine's buffer */
#define BORDER (2u << 28 | 5u << 24 | 5u << 20 | 2u << 16)

/* The place is taken and holds another job in 3x3 form or attention's pixels: the words in which they differ from a row's.
 * Strides of outputs matter to no single pixel. */
EDGEC_INLINE void write_gemv(const edgec_neureka_next *next, uint32_t bits, uint32_t before) {
    const uint32_t cin = edgec_neureka_gemv_cin(next->shape / 16u);
    edgec_neureka_write(6, cin);
    edgec_neureka_write(7, 3u * cin);
    edgec_neureka_write(13, EDGEC_NEUREKA_LINE * bits * (next->passes & 0xFFFFu));
    if (before >= EDGEC_NEUREKA_FOLD) {
        edgec_neureka_write(16, PIXEL);
        edgec_neureka_write(17, FILTER);
        edgec_neureka_write(19, PIXEL);
        edgec_neureka_write(20, 0);
    }
}

/* The same, from those of folded inputs, where the place holds another job in 3x3 form. */
EDGEC_INLINE void write_fold(const edgec_neureka_next *next, uint32_t bits) {
    const uint32_t row = 4u * EDGEC_NEUREKA_FOLD_ROWS(next->shape);
    edgec_neureka_write(6, 0);
    edgec_neureka_write(7, 0);
    edgec_neureka_write(10, row);
    edgec_neureka_write(11, 3u * row);
    edgec_neureka_write(13, EDGEC_NEUREKA_LINE * bits * (next->passes & 0xFFFFu));
    edgec_neureka_write(16, FILTER);
    edgec_neureka_write(17, FRAMED);
    edgec_neureka_write(20, BORDER);
}

/* The same in 1x1 form: all words, or, where the place has such a grid, what depends on k and the strides. */
EDGEC_APART void write_grid(uint32_t k, const edgec_neureka_grid *grid, place *at) {
    const uint32_t size = grid->height << 16 | grid->width;
    edgec_neureka_job job = edgec_neureka_grid_job(k, grid);
    job.w = (const uint8_t *)EDGEC_NEUREKA_NEURAL;
    if (at->grid != size) {
        at->grid = size;
        write_job(&job);
        return;
    }
    uint32_t words[EDGEC_NEUREKA_WORDS];
    edgec_neureka_registers(&job, words);
    edgec_neureka_acquire();
    edgec_neureka_write(6, words[6]);
    edgec_neureka_write(7, words[7]);
    edgec_neureka_write(10, words[10]);
    edgec_neureka_write(11, words[11]);
    edgec_neureka_write(13, words[13]);
}

/* Once, before the first job. */
EDGEC_INLINE void open_once(void) {
    if (!hal_neureka_state.opened) {
        hal_neureka_state.opened = 1;
        edgec_neureka_open();
    }
}

EDGEC_INLINE place *next_place(void) {
    return (place *)((uint8_t *)hal_neureka_state.places + hal_neureka_state.turn);
}

EDGEC_INLINE void trigger(void) {
    EDGEC_NEUREKA_REGISTER(EDGEC_NEUREKA_BASE + EDGEC_NEUREKA_TRIGGER) = 0;
    hal_neureka_state.turn = sizeof(place) - hal_neureka_state.turn;
}

/* In 1x1 form. */
EDGEC_APART void write_rows(place *at, const edgec_neureka_next *next) {
    const edgec_neureka_grid one = {1, 1, 0, 0};
    if (next->shape == EDGEC_NEUREKA_ROW) {
        write_grid(1, &one, at); /* of as many inputs as the job says */
    } else {
        at->shape = next->shape - EDGEC_NEUREKA_NEW_GRID + EDGEC_NEUREKA_GRID;
        write_grid(next->shape / 16u, &next->grid, at);
    }
}

/* The width of a shape in 3x3 form; of any other one none that a job has. */
EDGEC_INLINE uint32_t bits_of(uint32_t shape) {
    return shape % 16u == EDGEC_NEUREKA_FOLD ? EDGEC_NEUREKA_FOLD_BITS(shape) : shape % 16u;
}

/* Takes a place and writes what depends on the shape of jobs to it. The first time of all it opens the engine. */
EDGEC_APART void write_shape(place *at, const edgec_neureka_next *next) {
    const uint32_t form = next->shape % 16u, held = at->shape, before = held % 16u,
                   bits = bits_of(next->shape);
    open_once();
    at->shape = next->shape;
    if (EDGEC_SELDOM(form == EDGEC_NEUREKA_ROW || form == EDGEC_NEUREKA_NEW_GRID)) {
        write_rows(at, next);
        return;
    }
    at->grid = 0;
    if (EDGEC_SELDOM(before <= EDGEC_NEUREKA_ROW ||
                     (before == EDGEC_NEUREKA_PIXELS_OF && form == EDGEC_NEUREKA_FOLD))) {
        write_all(next->shape, bits);
        return;
    }
    edgec_neureka_acquire();
    if (form == EDGEC_NEUREKA_FOLD) {
        write_fold(next, bits);
    } else {
        write_gemv(next, bits, before);
    }
    if (bits != bits_of(held)) {
        write_bits(bits);
    }
}

/* Writes what differs from job to job of a shape, and runs the job. */
EDGEC_INLINE void run(const edgec_neureka_next *next) {
    edgec_neureka_write(0, edgec_neureka_address(next->w) - EDGEC_NEUREKA_NEURAL);
    edgec_neureka_write(1, edgec_neureka_address(next->x));
    edgec_neureka_write(2, edgec_neureka_address(next->y));
    edgec_neureka_write(15, next->rest);
    edgec_neureka_write(18, next->passes);
    if (next->shape == EDGEC_NEUREKA_ROW) { /* from channel to channel of w */
        edgec_neureka_write(13, EDGEC_NEUREKA_LINE * (next->passes & 0xFFFFu));
    }
    trigger();
}

/* With another shape than the place has. */
EDGEC_APART void start_shape(place *at, const edgec_neureka_next *next) {
    write_shape(at, next);
    run(next);
}

/* When a place is free. */
EDGEC_APART void start_later(const edgec_neureka_next *next) {
    edgec_neureka_sleep();
    edgec_neureka_acquire();
    run(next);
}

/* What is seldom are functions of their own, called last: so that the rest saves no registers for them. */
void hal_neureka_start(const edgec_neureka_next *next) {
    place *at = next_place();
    if (EDGEC_SELDOM(at->shape != next->shape)) {
        start_shape(at, next);
        return;
    }
    __asm__ volatile("" ::: "memory"); /* the engine reads what was written so far */
    if (EDGEC_SELDOM((int32_t)EDGEC_NEUREKA_REGISTER(EDGEC_NEUREKA_BASE + EDGEC_NEUREKA_ACQUIRE) < 0)) {
        start_later(next);
        return;
    }
    run(next);
}

void hal_neureka_wait(uint32_t open) {
    edgec_neureka_wait(open);
}

/* Words that are 0 or the same in every job are there unless the place is new. */
void hal_neureka_write(const edgec_neureka_pixels *pixels) {
    place *at = next_place();
    const edgec_neureka_job job = edgec_neureka_pixels_job(pixels);
    const uint32_t shape = 16u * pixels->cin + EDGEC_NEUREKA_PIXELS_OF, size = pixels->cout << 16;
    uint32_t words[EDGEC_NEUREKA_WORDS];
    edgec_neureka_registers(&job, words);
    open_once();
    edgec_neureka_acquire();
    edgec_neureka_write(0, words[0]);
    edgec_neureka_write(1, words[1]);
    edgec_neureka_write(2, words[2]);
    edgec_neureka_write(16, words[16]);
    edgec_neureka_write(17, words[17]);
    edgec_neureka_write(19, words[19]);
    if (at->shape != shape || at->grid != size) {
        if (at->shape == 0 || at->shape % 16u == EDGEC_NEUREKA_FOLD) {
            edgec_neureka_write(3, 0);
            edgec_neureka_write(4, 0);
            edgec_neureka_write(5, 0);
            edgec_neureka_write(8, words[8]);
            edgec_neureka_write(9, words[9]);
            edgec_neureka_write(12, words[12]);
            edgec_neureka_write(14, words[14]);
            edgec_neureka_write(20, words[20]);
            edgec_neureka_write(22, words[22]);
        }
        edgec_neureka_write(6, words[6]);
        edgec_neureka_write(7, words[7]);
        edgec_neureka_write(10, words[10]);
        edgec_neureka_write(11, words[11]);
        edgec_neureka_write(13, words[13]);
        edgec_neureka_write(15, words[15]);
        edgec_neureka_write(18, words[18]);
        edgec_neureka_write(21, words[21]);
        edgec_neureka_write(23, words[23]);
        at->shape = shape;
        at->grid = size;
    }
}

void hal_neureka_run(void) {
    __asm__ volatile("" ::: "memory"); /* the engine reads what was written so far */
    trigger();
}
