/* How core 0 directs a call of matmul_w4a8_neureka.h: N-EUREKA multiplies tiles of channels one after the other, and
 * the cores scale the sums of those that it has done.
 *
 * A tile is half of the channels that are left, so that there are few tiles and yet little is left to scale when the
 * engine has done the last one. While the other cores scale a tile, core 0 starts the jobs behind it: the engine and
 * the cores do not wait for each other.
 */
#ifndef EDGEC_MATMUL_W4A8_NEUREKA_TILES_H
#define EDGEC_MATMUL_W4A8_NEUREKA_TILES_H

#include "edgec_fork.h"
#include "edgec_math.h"
#include "matmul_w4a8_neureka.h"
#include "neureka_jobs.h"

#define EDGEC_NEUREKA_LAST  128u /* channels that are not halved again */
#define EDGEC_NEUREKA_TILES 3u   /* that acc holds: one is scaled, one multiplied, and one begun */

/* Channels first .. first + count - 1 of all rows. */
typedef struct {
    int32_t *acc; /* [m][groups][a->tile] */
    uint32_t first;
    uint32_t count;
} edgec_neureka_tile;

typedef struct {
    const edgec_matmul_w4a8_neureka_args *a;
    edgec_neureka_tile *out; /* the tile that is scaled */
    uint32_t groups;
    float nothing; /* -0: added, it changes no number, not even -0 */
    uint32_t more; /* core 0 starts jobs while the others scale the tile */
    /* The last job that was started. */
    edgec_neureka_tile *in;
    const int8_t *x;
    const uint8_t *w;
    int32_t *acc;
    uint32_t group;   /* jobs of the row from this one on */
    uint32_t row;     /* rows of the tile from this one on */
    uint32_t left;    /* whether there are more jobs */
    uint32_t started; /* jobs so far */
    uint32_t target;  /* of started, as far as there are jobs */
    uint32_t bits;    /* in 3x3 form; 0: 1x1 */
    uint32_t rows;    /* of jobs: all of x, or one where a job takes all */
    uint32_t behind;  /* accumulators from the last job's first of a tile to the next tile, less a->tile */
    edgec_neureka_grid grid;
    uint32_t size; /* inputs of a group */
    uint32_t line; /* bytes of a channel's encoded weights of a group */
    edgec_neureka_tile tiles[EDGEC_NEUREKA_TILES];
} edgec_neureka_call;

EDGEC_INLINE edgec_neureka_tile *edgec_neureka_next(edgec_neureka_call *c, edgec_neureka_tile *tile) {
    return tile == c->tiles + EDGEC_NEUREKA_TILES - 1u ? c->tiles : tile + 1;
}

/* Channels of the tile that begins where so many are left. */
EDGEC_INLINE uint32_t edgec_neureka_count(const edgec_matmul_w4a8_neureka_args *a, uint32_t left) {
    const uint32_t two = 2u * EDGEC_NEUREKA_PASS;
    const uint32_t count = left > EDGEC_NEUREKA_LAST ? (left + two - 1u) / two * EDGEC_NEUREKA_PASS : left;
    return count < a->tile ? count : a->tile;
}

EDGEC_INLINE uint32_t edgec_neureka_left(const edgec_neureka_call *c) {
    return c->group + c->row > 2u || c->in->first + c->in->count < c->a->n;
}

EDGEC_INLINE void edgec_neureka_start_job(const edgec_neureka_call *c) {
    if (c->bits) {
        hal_neureka_gemv(c->x, c->w, c->acc, c->size, c->in->count, c->bits);
    } else {
        hal_neureka_rows(c->x, c->w, c->acc, c->size, c->in->count, c->started < 2u ? &c->grid : NULL);
    }
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

/* Starts jobs up to the target. */
EDGEC_APART void edgec_neureka_start_jobs(edgec_neureka_call *c) {
    const edgec_matmul_w4a8_neureka_args *a = c->a;
    while (c->left && c->started < c->target) {
        c->x += c->size;
        c->w += a->n * c->line;
        c->acc += a->tile;
        if (--c->group == 0) {
            uint32_t first = c->in->first;
            if (c->row == 1u) {
                first += c->in->count;
                c->in = edgec_neureka_next(c, c->in);
                c->acc = c->in == c->tiles ? a->acc : c->acc + c->behind;
                *c->in = (edgec_neureka_tile){c->acc, first, edgec_neureka_count(a, a->n - first)};
                c->row = c->rows + 1u;
                c->x = a->x;
            }
            c->row--;
            c->group = c->groups;
            c->w = a->w + first * c->line;
        }
        edgec_neureka_start_job(c);
        c->started++;
        c->left = edgec_neureka_left(c);
    }
}

/* The call; `scale` scales the tile c->out. bits 0: 8 bits in 1x1 form. */
EDGEC_INLINE void edgec_neureka_direct(const edgec_matmul_w4a8_neureka_args *a, uint32_t bits,
                                       hal_kernel scale) {
    static const uint32_t block = 9u * EDGEC_NEUREKA_CIN_3X3;
    const uint32_t size = a->group_size < a->k ? a->group_size : a->k;
    const uint32_t count = edgec_neureka_count(a, a->n);
    edgec_neureka_call c;
    /* One row's first job is started at once, and all else is done meanwhile. */
    if (bits) {
        hal_neureka_gemv(a->x, a->w, a->acc, size, count, bits);
    } else if (a->m == 1u) {
        c.grid = (edgec_neureka_grid){1, 1, 0, 0};
        hal_neureka_rows(a->x, a->w, a->acc, size, count, &c.grid);
    }
    uint32_t groups = 0, jobs = 0; /* jobs of a tile */
    c.rows = bits ? a->m : 1u;
    EDGEC_UNROLL_1
    for (uint32_t k = 0; k < a->k; k += size) { /* few, and a division takes 35 cycles */
        groups++;
        jobs += c.rows;
    }
    c.behind = 0;
    if (!bits && a->m > 1u) {
        c.grid = edgec_neureka_grid_of(a, groups);
        hal_neureka_rows(a->x, a->w, a->acc, size, count, &c.grid);
        c.behind = (a->m - 1u) * groups * a->tile;
    }
    c.a = a;
    c.in = c.out = c.tiles;
    c.tiles[0] = (edgec_neureka_tile){a->acc, 0, count};
    c.x = a->x;
    c.w = a->w;
    c.acc = a->acc;
    c.group = c.groups = groups;
    c.row = c.rows;
    c.started = 1;
    c.bits = bits;
    c.size = size;
    c.line = bits ? (size + block - 1u) / block * bits * EDGEC_NEUREKA_LINE
                  : (size + EDGEC_NEUREKA_CIN_1X1 - 1u) / EDGEC_NEUREKA_CIN_1X1 * EDGEC_NEUREKA_LINE;
    c.nothing = -0.0f;
    /* When a tile's scaling ends, one job of the next tile may be under way, and one of the tile behind it. */
    c.target = jobs + 1u;
    c.left = edgec_neureka_left(&c);
    edgec_neureka_start_jobs(&c);
    for (uint32_t done = jobs;; done += jobs) {
        hal_neureka_wait(c.started - done);
        c.target = done + jobs + 1u;
        c.more = c.left;
        hal_fork(scale, &c);
        if (c.out->first + c.out->count == a->n) {
            return;
        }
        c.out = edgec_neureka_next(&c, c.out);
    }
}

/* What core 0 does besides scaling; then whether the core scales, and as which of how many. */
EDGEC_INLINE int edgec_neureka_scales(const edgec_neureka_call *c, uint32_t *core, uint32_t *n_cores) {
    if (c->more) {
        if (*core == 0) {
            edgec_neureka_start_jobs((edgec_neureka_call *)(uintptr_t)c); /* const for the others alone */
            return *n_cores == 1u;
        }
        *core -= 1u;
        *n_cores -= 1u;
    }
    return 1;
}

/* Scales channels begin .. end - 1 of the tile c->out. */
EDGEC_INLINE void edgec_neureka_scale(const edgec_neureka_call *c, edgec_range channels) {
    const edgec_matmul_w4a8_neureka_args *a = c->a;
    const edgec_neureka_tile *t = c->out;
    const float *x_scale = a->x_scale; /* [groups] */
    const int32_t *row_acc = t->acc;   /* [groups][tile] */
    size_t at = t->first;
    EDGEC_UNROLL_1
    for (uint32_t row = 0; row < a->m; row++) {
        const uint16_t *w_scale = a->w_scale + (t->first + channels.begin) * c->groups;
        EDGEC_UNROLL_1
        for (uint32_t n = channels.begin; n < channels.end; n++) {
            const int32_t *acc = row_acc + n;
            float value = c->nothing; /* -0 + p is p for every p */
            EDGEC_UNROLL_1
            for (uint32_t g = 0; g < c->groups; g++) {
                value += (float)*acc * (edgec_f16_to_f32(*w_scale++) * x_scale[g]);
                acc += a->tile;
            }
            value = a->bias ? value + a->bias[t->first + n] : value;
            a->y[at + n] = a->addend ? a->addend[at + n] + value : value;
        }
        at += a->n;
        x_scale += c->groups;
        row_acc += c->groups * a->tile;
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
