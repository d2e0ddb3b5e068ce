/* How a team of cores and N-EUREKA work on a call of matmul_w4a8_neureka.h: the engine multiplies tiles of channels one
 * after the other, and the cores scale the sums of those that it has done.
 *
 * A tile is half of the channels that are left, so that there are few tiles and yet little is left to scale when the
 * engine has done the last one. Core 0 starts the first job before it wakes the others. Behind a tile's last job it has
 * one of the next tile ready, and starts one more before it scales: the engine and the cores do not wait for each other.
 *
 * Channels may be those of several matrices behind each other (`parts`, gate and up), of which a tile has the same ones.
 */
#ifndef EDGEC_MATMUL_W4A8_NEUREKA_TILES_H
#define EDGEC_MATMUL_W4A8_NEUREKA_TILES_H

#include "edgec_fork.h"
#include "edgec_math.h"
#include "matmul_w4a8_neureka.h"
#include "neureka_jobs.h"

#define EDGEC_NEUREKA_LAST  128u /* channels that are not halved again */
#define EDGEC_NEUREKA_TILES 3u   /* that acc holds: one is scaled, one multiplied, and one begun */

/* Channels first .. first + count - 1 of all rows and parts. */
typedef struct {
    int32_t *acc; /* [parts][m][groups][a->tile] */
    uint32_t first;
    uint32_t count;
} edgec_neureka_tile;

typedef struct {
    const edgec_matmul_w4a8_neureka_args *a;
    uint32_t groups;
    uint32_t parts;
    uint32_t width; /* channels of a part */
    float nothing;  /* -0: added, it changes no number, not even -0 */
    edgec_neureka_tile tiles[EDGEC_NEUREKA_TILES];
    /* The next job, by core 0. */
    const int8_t *x;
    const uint8_t *w;
    const uint8_t *w_row; /* w of the row's first group */
    int32_t *acc;
    edgec_neureka_tile *in;
    uint32_t left;           /* whether there is one */
    uint32_t group;          /* jobs of the row from this one on */
    uint32_t row;            /* rows of the part from this one on */
    uint32_t part;           /* parts of the tile from this one on */
    uint32_t started;        /* jobs so far */
    uint32_t done;           /* of them, those of the tiles up to the one that is scaled */
    uint32_t jobs;           /* of a tile */
    uint32_t bits;           /* in 3x3 form; 0: 1x1 */
    uint32_t rows;           /* of jobs: all of x, or one where a job takes all */
    uint32_t behind;         /* accumulators from a part's last job to the next part, less a->tile */
    uint32_t size;           /* inputs of a group */
    uint32_t line;           /* bytes of a channel's encoded weights of a group */
    uint32_t stride;         /* of all channels' */
    edgec_neureka_grid grid; /* where a job takes several rows */
} edgec_neureka_call;

EDGEC_INLINE edgec_neureka_tile *edgec_neureka_next(edgec_neureka_call *c, const edgec_neureka_tile *tile) {
    const uint32_t i = (uint32_t)(tile - c->tiles);
    return c->tiles + (i + 1u < EDGEC_NEUREKA_TILES ? i + 1u : 0u);
}

/* Channels of the tile that begins where so many are left. */
EDGEC_INLINE uint32_t edgec_neureka_count(const edgec_matmul_w4a8_neureka_args *a, uint32_t left) {
    const uint32_t two = 2u * EDGEC_NEUREKA_PASS;
    const uint32_t count = left > EDGEC_NEUREKA_LAST ? (left + two - 1u) / two * EDGEC_NEUREKA_PASS : left;
    return count < a->tile ? count : a->tile;
}

/* All rows as pixels: as wide as the engine, if that divides them. */
EDGEC_INLINE edgec_neureka_grid edgec_neureka_grid_of(const edgec_matmul_w4a8_neureka_args *a,
                                                      uint32_t groups) {
    uint32_t width = EDGEC_NEUREKA_PIXELS;
    while (a->m % width) {
        width--;
    }
    return (edgec_neureka_grid){a->m / width, width, a->k, 4u * groups * a->tile};
}

EDGEC_INLINE void edgec_neureka_job_of(const edgec_neureka_call *c, const int8_t *x, const uint8_t *w,
                                       int32_t *acc, uint32_t count, uint32_t bits) {
    if (bits) {
        hal_neureka_gemv(x, w, acc, c->size, count, bits);
    } else if (c->a->m == 1u) {
        hal_neureka_row(x, w, acc, c->size, count);
    } else {
        hal_neureka_rows(x, w, acc, c->size, count, c->started < 2u ? &c->grid : NULL);
    }
}

/* On to the next row, part or tile: a tile's place is taken when its first job is started, not before. */
EDGEC_INLINE void edgec_neureka_advance(edgec_neureka_call *c) {
    const edgec_matmul_w4a8_neureka_args *a = c->a;
    c->group = c->groups;
    if (--c->row == 0) {
        c->row = c->rows;
        c->x = a->x;
        c->acc += c->behind;
        c->w_row += c->width * c->line;
        if (--c->part == 0) {
            const uint32_t first = c->in->first + c->in->count;
            edgec_neureka_tile *in = edgec_neureka_next(c, c->in);
            c->part = c->parts;
            if (in == c->tiles) {
                c->acc = a->acc;
            }
            *in = (edgec_neureka_tile){c->acc, first, edgec_neureka_count(a, c->width - first)};
            c->in = in;
            c->w_row = a->w + first * c->line;
        }
    }
    c->w = c->w_row;
}

/* Starts the next job, of which there is one, as soon as the engine has a free place. */
EDGEC_APART void edgec_neureka_start(edgec_neureka_call *c) {
    if (c->group == 0) {
        edgec_neureka_advance(c);
    }
    const uint32_t count = c->in->count;
    edgec_neureka_job_of(c, c->x, c->w, c->acc, count, c->bits);
    c->started++;
    c->x += c->size;
    c->w += c->stride;
    c->acc += c->a->tile;
    if (--c->group == 0 && c->row + c->part == 2u) {
        c->left = c->in->first + count < c->width;
    }
}

/* Starts the first job of a call, whose matrix has so many parts: at once, and all else is done while it runs. bits 0:
 * 8 bits in 1x1 form. */
EDGEC_INLINE void edgec_neureka_begin(edgec_neureka_call *c, const edgec_matmul_w4a8_neureka_args *a,
                                      uint32_t bits, uint32_t parts) {
    static const uint32_t block = 9u * EDGEC_NEUREKA_CIN_3X3;
    const uint32_t size = a->group_size < a->k ? a->group_size : a->k;
    const uint32_t width = parts == 2u ? a->n / 2u : a->n, count = edgec_neureka_count(a, width);
    uint32_t groups = 0;
    c->a = a;
    c->size = size;
    c->started = 0;
    if (bits || a->m == 1u) {
        edgec_neureka_job_of(c, a->x, a->w, a->acc, count, bits);
    }
    EDGEC_UNROLL_1
    for (uint32_t k = 0; k < a->k; k += size) { /* few, and a division takes 35 cycles */
        groups++;
    }
    c->behind = 0;
    if (!bits && a->m > 1u) {
        c->grid = edgec_neureka_grid_of(a, groups);
        c->behind = (a->m - 1u) * groups * a->tile;
        edgec_neureka_job_of(c, a->x, a->w, a->acc, count, bits);
    }
    c->groups = groups;
    c->parts = c->part = parts;
    c->width = width;
    c->nothing = -0.0f;
    c->tiles[0] = (edgec_neureka_tile){a->acc, 0, count};
    c->bits = bits;
    c->rows = bits ? a->m : 1u;
    c->row = c->rows;
    c->jobs = groups * parts * c->rows;
    c->line = bits ? (size + block - 1u) / block * bits * EDGEC_NEUREKA_LINE
                   : (size + EDGEC_NEUREKA_CIN_1X1 - 1u) / EDGEC_NEUREKA_CIN_1X1 * EDGEC_NEUREKA_LINE;
    c->stride = a->n * c->line;
    c->x = a->x + size;
    c->w = a->w + c->stride;
    c->w_row = a->w;
    c->acc = a->acc + a->tile;
    c->in = c->tiles;
    c->group = groups - 1u;
    c->started = 1;
    c->done = 0;
    c->left = c->jobs > 1u || count < width;
}

/* By core 0: returns when the next tile's jobs have ended, with one of the tile behind it under way, if there is one. */
EDGEC_APART void edgec_neureka_await(edgec_neureka_call *c) {
    c->done += c->jobs;
    while (c->left && c->started <= c->done) {
        edgec_neureka_start(c);
    }
    hal_neureka_wait(c->started - c->done);
}

/* What a core of the team does: `scale` scales its share of a tile. */
#define EDGEC_NEUREKA_TEAM(call, core, n_cores, scale)                                                       \
    do {                                                                                                     \
        edgec_neureka_call *const c = (edgec_neureka_call *)(uintptr_t)(call); /* core 0 writes to it */     \
        const edgec_neureka_tile *t = c->tiles;                                                              \
        for (;;) {                                                                                           \
            if ((core) == 0) {                                                                               \
                edgec_neureka_await(c);                                                                      \
            }                                                                                                \
            hal_barrier();                                                                                   \
            if ((core) == 0 && c->left && c->started <= c->done + 1u) {                                      \
                edgec_neureka_start(c); /* a place is free */                                                \
            }                                                                                                \
            scale(c, t, core, n_cores);                                                                      \
            if (t->first + t->count == c->width) {                                                           \
                break;                                                                                       \
            }                                                                                                \
            t = edgec_neureka_next(c, t);                                                                    \
        }                                                                                                    \
    } while (0)

/* Scales `count` channels of a row: from the one whose sums begin at acc on, which is `channel` of all. */
EDGEC_INLINE void edgec_neureka_scale(const edgec_neureka_call *c, const int32_t *acc, uint32_t row,
                                      uint32_t channel, uint32_t count) {
    const edgec_matmul_w4a8_neureka_args *a = c->a;
    const float *x_scale = a->x_scale + row * c->groups; /* [groups] */
    const uint16_t *w_scale = a->w_scale + channel * c->groups;
    const size_t at = (size_t)row * a->n;
    EDGEC_UNROLL_1
    for (uint32_t n = channel; n < channel + count; n++) {
        float value = c->nothing; /* -0 + p is p for every p */
        EDGEC_UNROLL_1
        for (uint32_t g = 0; g < c->groups; g++) {
            value += (float)acc[g * a->tile] * (edgec_f16_to_f32(*w_scale++) * x_scale[g]);
        }
        value = a->bias ? value + a->bias[n] : value;
        a->y[at + n] = a->addend ? a->addend[at + n] + value : value;
        acc++;
    }
}

/* The kernel of a width, and that of the 1x1 form. */
#define EDGEC_MATMUL_NEUREKA(name, bits)                                                                     \
    void edgec_matmul_##name(const edgec_matmul_##name##_args *a, uint32_t core, uint32_t n_cores) {         \
        (void)core;                                                                                          \
        (void)n_cores;                                                                                       \
        matmul(a, bits);                                                                                     \
    }

#endif
