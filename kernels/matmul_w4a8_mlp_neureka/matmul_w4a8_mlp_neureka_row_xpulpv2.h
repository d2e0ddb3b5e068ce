/* A gated MLP of one row whose v has several long groups, for cores with XpulpV2: N-EUREKA's jobs follow each other from
 * gate's first tile to down's last one.
 *
 *     engine    gate and up, tile by tile      down, group by group            down, last group, tile by tile
 *     cores     v of the tile before, groups   v of the last tile, last group  sums of the groups before, then
 *               quantised                      quantised                       of the tile before
 *
 * A job of down needs its group quantised, which it is two tiles behind the one that has its last channel; the last
 * group's wait for all of v. What down's groups give together so far lies where the sums of the first one were.
 */
#ifndef EDGEC_MATMUL_W4A8_MLP_NEUREKA_ROW_XPULPV2_H
#define EDGEC_MATMUL_W4A8_MLP_NEUREKA_ROW_XPULPV2_H

#include "../matmul_w4a8_silu_neureka/matmul_w4a8_silu_neureka_groups_xpulpv2.h"
#include "matmul_w4a8_mlp_neureka_call.h"

#if defined(EDGEC_PULP_FLOAT)
typedef struct {
    edgec_gated_groups g;
    const edgec_matmul_w4a8_mlp_neureka_args *a;
} edgec_mlp_team;

/* Down's jobs: of each group but the last one all channels, of that one tile by tile. */
EDGEC_INLINE void edgec_mlp_behind(edgec_gated_behind *b, const edgec_matmul_w4a8_mlp_neureka_args *a,
                                   uint32_t groups) {
    b->next.x = a->q;
    b->next.w = a->down_w;
    b->next.y = a->down_acc;
    b->next.shape = a->down_shape;
    b->next.rest = a->down_rest;
    b->next.passes = a->down_passes;
    b->inputs = a->out_group;
    b->channels = a->down_n;
    b->first = a->down_first;
    b->line = a->down_line;
    b->groups = groups;
    b->left = a->down_n;
    b->count = a->down_n;
    b->ready = 0;
}

/* scale_group for scales of any size. */
EDGEC_APART void edgec_mlp_any(const edgec_neureka_group *g, uint32_t w_step, float x_scale) {
    const uint8_t *w = (const uint8_t *)g->w, *before = (const uint8_t *)g->before,
                  *added = (const uint8_t *)g->added;
    for (uint32_t i = 0; i < g->count; i++) {
        const float scale = edgec_f16_to_f32(*(const uint16_t *)(const void *)w) * x_scale;
        const float sum = *(const float *)(const void *)before + (float)g->acc[i] * scale;
        g->to[i] = *(const float *)(const void *)added + sum;
        w += w_step;
        before += g->before_step;
        added += g->added_step;
    }
}

/* Down, when all of v is quantised and core 0 may start all jobs. */
EDGEC_INLINE void edgec_mlp_down_groups(const edgec_matmul_w4a8_mlp_neureka_args *a, edgec_neureka_list *list,
                                        edgec_gated_behind *behind, uint32_t groups, uint32_t core,
                                        uint32_t n_cores) {
    const float nothing = -0.0f; /* added, it changes no number, not even -0 */
    float *const so_far = (float *)(void *)a->down_acc;
    edgec_neureka_group g = {a->down_acc, a->down_scale, &nothing, 0, &nothing, 0, so_far, 0};
    const float *x_scale = a->scale;
    uint32_t begin = 0, count = a->down_n, left = groups;
    const int32_t *acc = a->down_acc;
    const uint16_t *w = a->down_scale;
    EDGEC_UNROLL_1
    for (;;) {
        const edgec_range mine = edgec_share(count, core, n_cores);
        const uint32_t channel = begin + mine.begin;
        if (core == 0) {
            list->done++;
            edgec_gated_start_behind(behind, list, list->done + 1u);
            hal_neureka_wait(list->started - list->done);
        }
        g.acc = acc + channel;
        g.w = w + channel * groups;
        g.count = mine.end - mine.begin;
        g.to = so_far + channel;
        if (left < groups) {
            g.before = so_far + channel;
            g.before_step = sizeof(float);
        }
        if (left == 1u) {
            g.to = a->y + channel;
            if (a->addend) {
                g.added = a->addend + channel;
                g.added_step = sizeof(float);
            }
        }
        hal_barrier();
        if (core == 0) {
            edgec_gated_start_behind(behind, list, list->done + 2u);
        }
        if (!EDGEC_SELDOM(g.count == 0)) {
            if (!EDGEC_SELDOM(!(*x_scale < F16_UNIT_LIMIT))) {
                scale_group(&g, 2u * groups, *x_scale * F16_UNIT);
            } else {
                edgec_mlp_any(&g, 2u * groups, *x_scale);
            }
        }
        if (left > 1u) { /* on to the next group */
            x_scale++;
            acc += a->down_n;
            w++;
            if (--left == 1u) {
                count = a->down_first;
            }
        } else {
            begin += count;
            if (begin == a->down_n) {
                return;
            }
            count = edgec_neureka_count(a->down_n, a->down_n - begin);
        }
    }
}

static void team_of_mlp(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    n_cores = edgec_p_minu(n_cores, EDGEC_PARTS);                /* others have no share */
    edgec_mlp_team *const t = (edgec_mlp_team *)(uintptr_t)args; /* cores write words of their own */
    EDGEC_KNOWN(edgec_matmul_w4a8_mlp_neureka_args, a, t->a);
    const edgec_matmul_w4a8_silu_neureka_args gated = edgec_mlp_gated(a);
    const uint32_t groups = edgec_groups(a->n / 2u, a->out_group);
    edgec_neureka_list list;
    edgec_gated_behind behind;
    edgec_mlp_behind(&behind, a, groups);
    gate_groups(&gated, &t->g, (const edgec_neureka_next *)t->a, &list, &behind, core, n_cores);
    hal_barrier();
    behind.ready += groups; /* more than are left: all */
    edgec_mlp_down_groups(a, &list, &behind, groups, core, n_cores);
}
#endif

#endif
