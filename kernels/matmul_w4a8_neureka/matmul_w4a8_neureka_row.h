/* The jobs of a single row, as matmul_w4a8_neureka_tiles.h orders them: tile by tile, in it part by part, in it group by
 * group. Core 0 keeps the list in registers while the team works, and where the shape is known (EDGEC_KNOWN) most of it
 * are constants: the bookkeeping of any rows took longer than the engine's first job.
 */
#ifndef EDGEC_MATMUL_W4A8_NEUREKA_ROW_H
#define EDGEC_MATMUL_W4A8_NEUREKA_ROW_H

#include "matmul_w4a8_neureka_tiles.h"

/* The numbers that jobs are made of: constants where the shape is known. */
typedef struct {
    uint32_t parts;
    uint32_t width; /* channels of a part */
    uint32_t groups;
    uint32_t group_size;
    uint32_t tile;
    uint32_t first;
    uint32_t line;
} edgec_neureka_shape;

typedef struct {
    edgec_neureka_next next;
    const uint8_t *w;     /* of the matrix */
    const uint8_t *w_row; /* of the part's channels in the tile, first group */
    const int8_t *x;
    int32_t *acc;
    uint32_t left;  /* channels from the next job's tile on; 0: all jobs are started */
    uint32_t count; /* channels of that tile */
    uint32_t part;  /* parts of the tile from the next job's on */
    uint32_t group; /* jobs of the part from the next one on */
    uint32_t room;  /* tiles from this one on to the end of acc */
    uint32_t started;
    uint32_t done; /* jobs up to those that are waited for, or scaled */
} edgec_neureka_list;

#define EDGEC_NEUREKA_SHAPE(a, parts)                                                                        \
    {(parts), (a)->n / (parts), (a)->groups, (a)->group_size, (a)->tile, (a)->first, (a)->line}

/* On to the next job, once one is started. */
EDGEC_INLINE void edgec_neureka_list_on(edgec_neureka_list *l, const edgec_neureka_shape *s) {
    l->started++;
    l->next.y += s->tile;
    if (--l->group) {
        l->next.x += s->group_size;
        l->next.w += s->parts * s->width * s->line;
        return;
    }
    l->group = s->groups;
    l->next.x = l->x;
    if (--l->part) {
        l->w_row += s->width * s->line;
        l->next.w = l->w_row;
        return;
    }
    l->part = s->parts;
    l->left -= l->count;
    if (l->left == 0) {
        return;
    }
    l->w += l->count * s->line;
    l->next.w = l->w_row = l->w;
    l->count = edgec_neureka_count(s->tile, l->left);
    edgec_neureka_channels(&l->next, l->count);
    if (--l->room == 0) {
        l->room = EDGEC_NEUREKA_TILES;
        l->next.y = l->acc;
    }
}

/* All jobs of a call, the first of which is started, and that of folded inputs if there is one: the arguments begin with the
 * first one. fold: the arguments'. */
EDGEC_INLINE void edgec_neureka_list_begin(edgec_neureka_list *l, const edgec_neureka_next *job,
                                           const edgec_neureka_shape *s, uint32_t fold) {
    l->next.x = l->x = job->x;
    l->next.w = l->w_row = l->w = job->w;
    l->next.y = l->acc = job->y;
    l->next.shape = job->shape;
    l->next.rest = job->rest;
    l->next.passes = job->passes;
    l->left = s->width;
    l->count = s->first;
    l->part = s->parts;
    l->group = s->groups;
    l->room = EDGEC_NEUREKA_TILES;
    l->started = l->done = fold > 0;
    edgec_neureka_list_on(l, s);
}

/* Starts jobs, if there are any, until so many are started. */
EDGEC_INLINE void edgec_neureka_list_start(edgec_neureka_list *l, const edgec_neureka_shape *s,
                                           uint32_t until) {
    while (l->left && l->started < until) {
        hal_neureka_start(&l->next);
        edgec_neureka_list_on(l, s);
    }
}

/* By core 0 before it waits for so many jobs more: gives them to the engine, and one behind them. */
EDGEC_INLINE void edgec_neureka_list_feed(edgec_neureka_list *l, const edgec_neureka_shape *s,
                                          uint32_t jobs) {
    l->done += jobs;
    edgec_neureka_list_start(l, s, l->done + 1u);
}

/* Returns when those jobs have ended. Core 0 gives the engine one more: a place is free. */
EDGEC_INLINE void edgec_neureka_list_meet(edgec_neureka_list *l, const edgec_neureka_shape *s,
                                          uint32_t core) {
    if (core == 0) {
        hal_neureka_wait(l->started - l->done);
    }
    hal_barrier();
    if (core == 0) {
        edgec_neureka_list_start(l, s, l->done + 2u);
    }
}

#endif
