/* How a team of cores and N-EUREKA work on a call of matmul_w4a8_neureka.h: the engine multiplies tiles of channels one
 * after the other, and the cores scale the sums of those that it has done.
 *
 * The first tile has `first` channels, each other one half of those that are left, at most `tile`: so the cores have
 * something to scale early, there are few tiles, and yet little is left to scale when the engine has done the last one.
 * Core 0 starts the first job before all else and then wakes the others. Behind a tile's last job it has one of the next
 * tile ready, and starts one more before it scales: the engine and the cores do not wait for each other.
 *
 * Channels may be those of several matrices behind each other (`parts`, gate and up), of which a tile has the same ones.
 */
#ifndef EDGEC_MATMUL_W4A8_NEUREKA_TILES_H
#define EDGEC_MATMUL_W4A8_NEUREKA_TILES_H

#include "edgec_fork.h"
#include "edgec_math.h"
#include "matmul_w4a8_neureka.h"
#include "matmul_w4a8_neureka_tail.h"
#include "neureka_jobs.h"

#define EDGEC_NEUREKA_LAST  128u /* channels that are not halved again */
#define EDGEC_NEUREKA_TILES 3u   /* that acc holds: one is scaled, one multiplied, and one begun */
#define EDGEC_NEUREKA_RING                                                                                   \
    4u /* that are described: also the next one, once the last job before it is started */

/* What the arguments of the matmul and of the one with SiLU begin with, and they with the first job of a single row: it
 * is started from where they lie. */
typedef struct {
    const int8_t *x;
    const uint8_t *w;
    int32_t *acc;
    uint32_t shape;
    uint32_t rest;
    uint32_t passes;
    const float *x_scale;
    const uint16_t *w_scale;
    const float *bias;
    float *y;
    uint32_t m;
    uint32_t n;
    uint32_t k;
    uint32_t group_size;
    uint32_t tile;
    uint32_t first;
    uint32_t groups;
    uint32_t line;
    const int8_t *w_tail;
    uint32_t tail;
    const uint8_t *w_fold;
    int32_t *fold_acc;
    uint32_t fold;
} edgec_neureka_args;

_Static_assert(offsetof(edgec_neureka_args, acc) == offsetof(edgec_neureka_next, y) &&
                   offsetof(edgec_neureka_args, passes) == offsetof(edgec_neureka_next, passes),
               "arguments begin with a job");
#define EDGEC_NEUREKA_BEGINS_WITH(type)                                                                      \
    _Static_assert(offsetof(type, fold) == offsetof(edgec_neureka_args, fold), "other arguments come "       \
                                                                               "behind")

/* The job of the folded inputs of the first row, of arguments of any of the kernels. */
#define EDGEC_NEUREKA_FOLD_JOB(a)                                                                            \
    edgec_neureka_fold_job((a)->x + (a)->k - (a)->tail, (a)->w_fold, (a)->fold_acc, (a)->fold)

/* behind: the inputs behind those. */
EDGEC_INLINE edgec_neureka_next edgec_neureka_fold_job(const int8_t *behind, const uint8_t *w, int32_t *y,
                                                       uint32_t fold) {
    const uint32_t size = EDGEC_NEUREKA_FOLD_INPUTS(fold), cin = EDGEC_NEUREKA_CIN_3X3;
    const uint32_t blocks = (size + cin - 1u) / cin;
    edgec_neureka_next next = {.x = behind - size,
                               .w = w,
                               .y = y,
                               .shape = fold,
                               .rest = size - (blocks - 1u) * cin,
                               .passes = blocks};
    edgec_neureka_channels(&next, EDGEC_NEUREKA_FOLD_ROWS(fold));
    return next;
}

/* Starts that job and those of the other rows. */
EDGEC_APART void edgec_neureka_start_folds(const edgec_neureka_args *a) {
    edgec_neureka_next next = EDGEC_NEUREKA_FOLD_JOB(a);
    EDGEC_UNROLL_1
    for (uint32_t left = a->m; left > 0; left--) {
        hal_neureka_start(&next);
        next.x += a->k;
        next.y += EDGEC_NEUREKA_FOLDED * EDGEC_NEUREKA_FOLD_ROWS(a->fold);
    }
}

/* Starts the first job of a single row, and that of its folded inputs, if it has any. In a copy its step has started the
 * first one already, before it starts transfers. a: the arguments, known ones. */
#if defined(EDGEC_AHEAD)
#define EDGEC_NEUREKA_START_FIRST(args) (void)(args)
#else
#define EDGEC_NEUREKA_START_FIRST(args) hal_neureka_start((const edgec_neureka_next *)(args))
#endif
#define EDGEC_NEUREKA_FIRST(args, a)                                                                         \
    do {                                                                                                     \
        EDGEC_NEUREKA_START_FIRST(args);                                                                     \
        if (EDGEC_SELDOM((a)->fold > 0)) {                                                                   \
            const edgec_neureka_next fold_ = EDGEC_NEUREKA_FOLD_JOB(a);                                      \
            hal_neureka_start(&fold_);                                                                       \
        }                                                                                                    \
    } while (0)

/* Channels first .. first + count - 1 of all rows and parts. */
typedef struct {
    int32_t *acc; /* [parts][m][groups][a->tile] */
    uint32_t first;
    uint32_t count;
} edgec_neureka_tile;

typedef struct {
    edgec_neureka_next next; /* job, by core 0 as the rest but for tiles */
    const edgec_neureka_args *a;
    const float *addend; /* [m][n], or NULL */
    float nothing;       /* -0: added, it changes no number, not even -0 */
    edgec_neureka_tile tiles[EDGEC_NEUREKA_RING];
    edgec_neureka_tile *in; /* of the next job */
    const uint8_t *w_row;   /* w of the row's first group */
    uint32_t parts;
    uint32_t width;   /* channels of a part */
    uint32_t left;    /* channels from the tile `in` on: 0 when the last job was started */
    uint32_t group;   /* jobs of the row from this one on */
    uint32_t row;     /* rows of the part from this one on */
    uint32_t part;    /* parts of the tile from this one on */
    uint32_t room;    /* tiles from this one on to the end of acc */
    uint32_t started; /* jobs so far, those of folded inputs among them, which follow the first one */
    uint32_t done;    /* of them, those of the tiles up to the one that is scaled, and of folded inputs */
    uint32_t jobs;    /* of a tile */
    uint32_t rows;    /* of jobs: all of x, or one where a job takes all */
    uint32_t behind;  /* accumulators from a part's last job to the next part, less a->tile */
} edgec_neureka_call;

EDGEC_INLINE const edgec_neureka_tile *edgec_neureka_after(const edgec_neureka_call *c,
                                                           const edgec_neureka_tile *tile) {
    return tile + 1 == c->tiles + EDGEC_NEUREKA_RING ? c->tiles : tile + 1;
}

/* Channels of the tile that begins where so many are left. */
EDGEC_INLINE uint32_t edgec_neureka_count(uint32_t tile, uint32_t left) {
    const uint32_t two = 2u * EDGEC_NEUREKA_PASS;
    const uint32_t count = left > EDGEC_NEUREKA_LAST ? (left + two - 1u) / two * EDGEC_NEUREKA_PASS : left;
    return count < tile ? count : tile;
}

/* All rows as pixels: as wide as the engine, if that divides them. Unrolled, a division is by a constant, and short. */
EDGEC_INLINE edgec_neureka_grid edgec_neureka_grid_of(const edgec_neureka_args *a) {
    uint32_t width = EDGEC_NEUREKA_PIXELS, height = a->m;
    EDGEC_UNROLL_8
    for (; width > 1u; width--) {
        height = a->m / width;
        if (height * width == a->m) {
            break;
        }
    }
    return (edgec_neureka_grid){width > 1u ? height : a->m, width, a->k, 4u * a->groups * a->tile};
}

/* On to the next row, part or tile. */
EDGEC_APART void edgec_neureka_row(edgec_neureka_call *c) {
    const edgec_neureka_args *a = c->a;
    c->group = a->groups;
    c->next.w = c->w_row;
    if (EDGEC_SELDOM(--c->row)) {
        return;
    }
    c->row = c->rows;
    c->next.x = a->x;
    c->next.y += c->behind;
    if (--c->part) {
        c->w_row += c->width * a->line;
        c->next.w = c->w_row;
        return;
    }
    c->part = c->parts;
    c->left -= c->in->count;
    if (c->left) {
        const uint32_t first = c->width - c->left, count = edgec_neureka_count(a->tile, c->left);
        if (--c->room == 0) {
            c->room = EDGEC_NEUREKA_TILES;
            c->next.y = a->acc;
        }
        c->in = c->in + 1 == c->tiles + EDGEC_NEUREKA_RING ? c->tiles : c->in + 1;
        *c->in = (edgec_neureka_tile){c->next.y, first, count};
        edgec_neureka_channels(&c->next, count);
        c->next.w = c->w_row = a->w + first * a->line;
    }
}

/* On to the next job, once one is started: not before it starts, for now the engine has work. */
EDGEC_INLINE void edgec_neureka_advance(edgec_neureka_call *c) {
    const edgec_neureka_args *a = c->a;
    c->started++;
    c->next.y += a->tile;
    if (--c->group == 0) {
        c->next.x += a->k < a->group_size ? a->k : a->group_size;
        edgec_neureka_row(c);
    } else {
        c->next.x += a->group_size;
        c->next.w += a->n * a->line;
    }
}

/* Starts the next job, of which there is one, as soon as the engine has a free place. */
EDGEC_APART void edgec_neureka_start(edgec_neureka_call *c) {
    hal_neureka_start(&c->next);
    if (EDGEC_SELDOM(c->started == 1u) && c->next.shape % 16u == EDGEC_NEUREKA_NEW_GRID) {
        c->next.shape -= EDGEC_NEUREKA_NEW_GRID - EDGEC_NEUREKA_GRID; /* both places have it */
    }
    edgec_neureka_advance(c);
}

/* A call of several jobs, the first of which is started. */
EDGEC_APART void edgec_neureka_more(edgec_neureka_call *c) {
    const edgec_neureka_args *a = c->a;
    c->in = c->tiles;
    c->w_row = a->w;
    c->part = c->parts;
    c->left = c->width;
    c->group = a->groups;
    c->row = c->rows;
    c->room = EDGEC_NEUREKA_TILES;
    c->started = 0;
    edgec_neureka_advance(c);
}

/* The first job of several rows: all of them where a job takes several. */
EDGEC_APART void edgec_neureka_begin_rows(edgec_neureka_call *c, const edgec_neureka_args *a) {
    if (a->shape == EDGEC_NEUREKA_ROW) {
        const uint32_t k = a->k < a->group_size ? a->k : a->group_size;
        c->next.shape = 16u * k + EDGEC_NEUREKA_NEW_GRID;
        c->next.grid = edgec_neureka_grid_of(a);
        c->behind = (a->m - 1u) * a->groups * a->tile;
    } else {
        c->rows = a->m;
    }
    hal_neureka_start(&c->next);
    if (a->fold) {
        edgec_neureka_start_folds(a);
    }
}

/* Starts the first job of a call, whose matrix has so many parts: at once, and all else is done while it runs. */
EDGEC_INLINE void edgec_neureka_begin(edgec_neureka_call *c, const edgec_neureka_args *a, uint32_t parts) {
    const int one = a->m == 1u;
    if (!EDGEC_SELDOM(!one)) {
        EDGEC_NEUREKA_FIRST(a, a);
    }
    const uint32_t width = parts == 2u ? a->n / 2u : a->n;
    c->a = a;
    c->nothing = -0.0f;
    c->tiles[0] = (edgec_neureka_tile){a->acc, 0, a->first};
    c->width = width;
    c->parts = parts;
    c->rows = 1;
    c->behind = 0;
    c->done = a->fold ? a->m : 0;
    c->left = 0;
    c->started = 1u + c->done;
    if (one && parts == 1u && a->groups == 1u && a->first == width) {
        c->jobs = 1;
        return;
    }
    c->next.x = a->x;
    c->next.w = a->w;
    c->next.y = a->acc;
    c->next.shape = a->shape;
    c->next.rest = a->rest;
    c->next.passes = a->passes;
    if (EDGEC_SELDOM(!one)) {
        edgec_neureka_begin_rows(c, a);
    }
    c->jobs = a->groups * parts * c->rows;
    edgec_neureka_more(c);
    c->started += c->done;
}

EDGEC_APART void edgec_neureka_feed_tile(edgec_neureka_call *c) {
    do {
        edgec_neureka_start(c);
    } while (c->left && c->started <= c->done);
}

/* By core 0: gives the engine the next tile's jobs, and one of the tile behind it, if there is one. */
EDGEC_INLINE void edgec_neureka_feed(edgec_neureka_call *c) {
    c->done += c->jobs;
    if (c->left && c->started <= c->done) {
        edgec_neureka_feed_tile(c);
    }
}

/* Returns when the tile's jobs have ended. Core 0 gives the engine one more: a place is free. */
EDGEC_INLINE void edgec_neureka_meet(edgec_neureka_call *c, uint32_t core) {
    if (core == 0) {
        hal_neureka_wait(c->started - c->done);
    }
    hal_barrier();
    if (core == 0 && c->left && c->started <= c->done + 1u) {
        edgec_neureka_start(c);
    }
}

/* What a core of the team does: `scale` scales its share of a tile. */
#define EDGEC_NEUREKA_TEAM(call, core, n_cores, scale)                                                       \
    do {                                                                                                     \
        edgec_neureka_call *const c = (edgec_neureka_call *)(uintptr_t)(call); /* core 0 writes to it */     \
        const edgec_neureka_tile *t = c->tiles;                                                              \
        for (;;) {                                                                                           \
            if ((core) == 0) {                                                                               \
                edgec_neureka_feed(c);                                                                       \
            }                                                                                                \
            edgec_neureka_meet(c, core);                                                                     \
            scale(c, t, core, n_cores);                                                                      \
            if (t->first + t->count == c->width) {                                                           \
                break;                                                                                       \
            }                                                                                                \
            t = edgec_neureka_after(c, t);                                                                   \
        }                                                                                                    \
    } while (0)

/* Scales `count` channels of a row: from the one whose sums begin at acc on, which is `channel` of all. */
EDGEC_INLINE void edgec_neureka_scale(const edgec_neureka_call *c, const int32_t *acc, uint32_t row,
                                      uint32_t channel, uint32_t count) {
    const edgec_neureka_args *a = c->a;
    const float *x_scale = a->x_scale + row * a->groups; /* [groups] */
    const uint16_t *w_scale = a->w_scale + channel * a->groups;
    const size_t at = (size_t)row * a->n;
    EDGEC_UNROLL_1
    for (uint32_t n = channel; n < channel + count; n++) {
        float value = c->nothing; /* -0 + p is p for every p */
        EDGEC_UNROLL_1
        for (uint32_t g = 0; g < a->groups; g++) {
            value += (float)acc[g * a->tile] * (edgec_f16_to_f32(*w_scale++) * x_scale[g]);
        }
        value = a->bias ? value + a->bias[n] : value;
        a->y[at + n] = c->addend ? c->addend[at + n] + value : value;
        acc++;
    }
}

/* The kernel of a width, and that of the 1x1 form: which it is, the jobs' shape says. */
#define EDGEC_MATMUL_NEUREKA(name)                                                                           \
    void edgec_matmul_##name(const edgec_matmul_##name##_args *a, uint32_t core, uint32_t n_cores) {         \
        (void)core;                                                                                          \
        (void)n_cores;                                                                                       \
        matmul(a);                                                                                           \
    }

#endif
