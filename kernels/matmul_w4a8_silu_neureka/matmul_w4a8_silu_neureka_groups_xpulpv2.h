/* A single row whose v has several long groups, for cores with XpulpV2: a group is quantised while the engine multiplies
 * the tiles behind it, and only the last one when it has nothing left to do.
 *
 * A team of its own, for what a call runs comes from slow memory: a row that is one group, or several short ones, would pay
 * for the bookkeeping here. In a token on the public model of Siracusa, 3 groups of 252 gain 330 cycles a call, and 4
 * groups of 64 lose 350. */
#ifndef EDGEC_MATMUL_W4A8_SILU_NEUREKA_GROUPS_XPULPV2_H
#define EDGEC_MATMUL_W4A8_SILU_NEUREKA_GROUPS_XPULPV2_H

#include "../matmul_w4a8_neureka/matmul_w4a8_neureka_row.h"
#include "edgec_parts_xpulpv2.h"
#include "matmul_w4a8_silu_neureka_gate_xpulpv2.h"

#if defined(EDGEC_PULP_FLOAT)
#define EDGEC_GROUPS_MOST 4u
#define EDGEC_GROUP_LEAST 128u /* elements */

/* What each core found of each group. */
typedef struct {
    const edgec_matmul_w4a8_silu_neureka_args *a;
    uint32_t tops[EDGEC_GROUPS_MOST * EDGEC_PARTS]; /* the bits without the sign, doubled, of max |v| */
    uint32_t sums[EDGEC_GROUPS_MOST * EDGEC_PARTS]; /* of what it quantised v to */
} edgec_gated_groups;

/* Whether a row's groups are worth it: several, few and long ones, of pairs. */
EDGEC_INLINE int in_groups(const edgec_matmul_w4a8_silu_neureka_args *a) {
    const uint32_t width = a->n / 2u, size = a->out_group;
    return size >= EDGEC_GROUP_LEAST && size < width && width <= EDGEC_GROUPS_MOST * size && size % 2u == 0 &&
           width % 2u == 0;
}

/* A core's part in quantising groups [begin, end) of v, which is there, and so are its tops. Cores share a group only as far
 * as there are more of them than groups: most of what a group takes is the same for any number of elements. */
EDGEC_INLINE void quantize_groups(const edgec_matmul_w4a8_silu_neureka_args *a, edgec_gated_groups *g,
                                  uint32_t begin, uint32_t end, uint32_t core, uint32_t n_cores) {
    uint32_t each = n_cores, lane = core, group = begin; /* cores of a group */
    EDGEC_UNROLL_1
    for (uint32_t reach = 1; reach < end - begin && each > 1u; reach *= 2u) {
        each /= 2u;
    }
    EDGEC_UNROLL_1
    for (; lane >= each; lane -= each) {
        group++;
    }
    EDGEC_UNROLL_1
    for (; group < end; group += n_cores) {
        const uint32_t from = group * a->out_group, count = edgec_p_minu(a->out_group, a->n / 2u - from);
        const edgec_range pairs = edgec_share(count / 2u, lane, each);
        const float top = edgec_tops_top(g->tops + group * EDGEC_PARTS, n_cores);
        if (lane == 0) {
            a->scale[group] = top * EDGEC_ONE_127TH;
        }
        if (!EDGEC_SELDOM(pairs.begin == pairs.end)) {
            const uint32_t at = from + 2u * pairs.begin;
            const uint32_t sum = edgec_parts_values(a->y + at, a->q + at, 2u * (pairs.end - pairs.begin),
                                                    edgec_top_inverse(top));
            if (a->sums) {
                g->sums[group * EDGEC_PARTS + lane] = sum;
            }
        }
    }
}

/* Jobs that follow those of gate and up and need the row's groups: of each group but the last one a job of all channels, of
 * the last one tiles of them. */
typedef struct {
    edgec_neureka_next next;
    uint32_t inputs; /* of a group */
    uint32_t channels;
    uint32_t first; /* channels of the last group's first tile */
    uint32_t line;
    uint32_t groups; /* from the next job's on */
    uint32_t left;   /* channels of its last one from the next job on */
    uint32_t count;  /* channels of the next job */
    uint32_t ready;  /* groups from the next job's on that are quantised */
} edgec_gated_behind;

/* Starts such jobs, if their groups are there, until so many of all are started. None before gate's and up's are. */
EDGEC_INLINE void edgec_gated_start_behind(edgec_gated_behind *b, edgec_neureka_list *l, uint32_t until) {
    while (l->left == 0 && b->left && b->ready && l->started < until) {
        hal_neureka_start(&b->next);
        l->started++;
        if (b->groups > 1u) {
            b->groups--;
            b->ready--;
            b->next.x += b->inputs;
            b->next.w += b->channels * b->line;
            b->next.y += b->channels;
            if (b->groups > 1u) {
                continue;
            }
            b->count = b->first;
        } else {
            b->left -= b->count;
            b->next.w += b->count * b->line;
            b->next.y += b->count;
            b->count = edgec_neureka_count(b->channels, b->left);
        }
        if (b->left) {
            edgec_neureka_channels(&b->next, b->count);
        }
    }
}

/* All of a call but the fork. behind: what core 0 starts behind gate and up, or NULL; all of its groups are ready when the
 * cores have met once more. job: the first one, which is started. */
EDGEC_INLINE void gate_groups(const edgec_matmul_w4a8_silu_neureka_args *a, edgec_gated_groups *g,
                              const edgec_neureka_next *job, edgec_neureka_list *list,
                              edgec_gated_behind *behind, uint32_t core, uint32_t n_cores) {
    const edgec_neureka_shape shape = EDGEC_NEUREKA_SHAPE(a, 2u);
    const float unit = a->x_scale[0] * F16_UNIT;
    edgec_neureka_list_begin(list, job, &shape, a->fold);
    uint32_t first = 0, count = a->first, room = EDGEC_NEUREKA_TILES;
    const int32_t *acc = a->acc;
    uint32_t group = 0, group_end = a->out_group,
             top = 0; /* the one that the tile's channels belong to, so far */
    uint32_t done = 0,
             seen = 0; /* groups quantised, and those of them that core 0 knows all cores' part of */
    if (core == 0) {
        edgec_neureka_list_feed(list, &shape, 2u * a->groups);
    }
    widen_share(a, core, n_cores);
    if (a->sums) {
        EDGEC_UNROLL_1
        for (uint32_t j = core; j < EDGEC_GROUPS_MOST * EDGEC_PARTS; j += n_cores) {
            g->sums[j] = 0; /* also of cores that a group does not have */
        }
    }
    EDGEC_UNROLL_1
    for (;;) {
        const edgec_range mine = tile_share(count, behind || first + count != shape.width, core, n_cores);
        uint32_t at = first + mine.begin, met = group; /* groups that are there when all have met */
        const uint32_t end = first + mine.end, tile_end = first + count;
        const int32_t *sums = acc - first;
        edgec_neureka_list_meet(list, &shape, core);
        if (behind && core == 0) {
            behind->ready += done - seen;
            seen = done;
            edgec_gated_start_behind(behind, list, list->done + 2u);
        }
        EDGEC_UNROLL_1
        for (;;) { /* the core's channels of each group */
            const uint32_t stop = edgec_p_minu(end, group_end);
            if (at < stop) {
                add_tails(a, sums + at, 0, at, stop - at);
                top = gate_times_up(gate_span_of(a, sums + at, 0, at), stop - at, unit, top);
                at = stop;
            }
            if (group_end > tile_end) {
                break;
            }
            g->tops[group * EDGEC_PARTS + core] = top;
            group++;
            group_end += a->out_group;
            top = 0;
        }
        first = tile_end;
        const int last = first == shape.width;
        if (last) {
            if (group_end != first + a->out_group) { /* the last group is a shorter one */
                g->tops[group++ * EDGEC_PARTS + core] = top;
            }
            hal_barrier();
            met = group;
        } else {
            count = edgec_neureka_count(a->tile, shape.width - first);
            acc += 2u * a->groups * a->tile;
            if (--room == 0) {
                room = EDGEC_NEUREKA_TILES;
                acc = a->acc;
            }
            if (core == 0) {
                edgec_neureka_list_feed(list, &shape, 2u * a->groups);
                if (behind) {
                    edgec_gated_start_behind(behind, list, list->done + 1u);
                }
            }
        }
        if (done < met) {
            quantize_groups(a, g, done, met, core, n_cores);
            done = met;
        }
        if (last) {
            return;
        }
    }
}

/* Of every group the sum, by core 0 behind the fork. */
EDGEC_INLINE void sums_of_groups(const edgec_gated_groups *g, uint32_t groups, int32_t *sums) {
    const uint32_t *found = g->sums;
    EDGEC_UNROLL_1
    for (; groups > 0; groups--) {
        uint32_t sum = 0, each = EDGEC_PARTS;
        EDGEC_FOLD("add %[total], %[total], %[a]\n\t", sum, found, each);
        *sums++ = (int32_t)sum;
    }
}
#endif

#endif
