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

static void team_of_groups(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    n_cores = edgec_p_minu(n_cores, EDGEC_PARTS);                        /* others have no share */
    edgec_gated_groups *const g = (edgec_gated_groups *)(uintptr_t)args; /* cores write words of their own */
    EDGEC_KNOWN(edgec_matmul_w4a8_silu_neureka_args, a, g->a);
    const edgec_neureka_shape shape = EDGEC_NEUREKA_SHAPE(a, 2u);
    const float unit = a->x_scale[0] * F16_UNIT;
    edgec_neureka_list list;
    edgec_neureka_list_begin(&list, (const edgec_neureka_next *)g->a, &shape);
    uint32_t first = 0, count = a->first, room = EDGEC_NEUREKA_TILES;
    const int32_t *acc = a->acc;
    uint32_t group = 0, group_end = a->out_group,
             top = 0;  /* the one that the tile's channels belong to, so far */
    uint32_t done = 0; /* groups quantised */
    if (core == 0) {
        edgec_neureka_list_feed(&list, &shape, 2u * a->groups);
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
        const edgec_range mine = tile_share(count, first + count != shape.width, core, n_cores);
        uint32_t at = first + mine.begin, met = group; /* groups that are there when all have met */
        const uint32_t end = first + mine.end, tile_end = first + count;
        const int32_t *sums = acc - first;
        edgec_neureka_list_meet(&list, &shape, core);
        EDGEC_UNROLL_1
        for (;;) { /* the core's channels of each group */
            const uint32_t stop = edgec_p_minu(end, group_end);
            if (at < stop) {
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
                edgec_neureka_list_feed(&list, &shape, 2u * a->groups);
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
