/* The kernels of matmul_w4a8_silu_neureka.h for cores with XpulpV2. */
#include "matmul_w4a8_silu_neureka_call.h"

#include "../matmul_w4a8_neureka/matmul_w4a8_neureka_scale_xpulpv2.h"
#include "edgec_parts_xpulpv2.h"
#include "edgec_silu_xpulpv2.h"

#define EDGEC_GROUPS 4u /* that a row in parts has at most */

typedef struct {
    edgec_neureka_call call; /* first: the team's functions get it */
    edgec_parts parts;       /* of a single row */
} call;

/* Scales a core's share of a tile of gate and up, and multiplies them. */
EDGEC_INLINE void share(const edgec_neureka_call *c, const edgec_neureka_tile *t, uint32_t core,
                        uint32_t n_cores) {
    const edgec_neureka_args *a = c->a;
    const edgec_range mine = edgec_share(t->count, core, n_cores);
    const uint32_t count = mine.end - mine.begin, first = t->first + mine.begin, n = a->n;
    if (EDGEC_SELDOM(count == 0)) {
        return;
    }
    const int32_t *acc = t->acc + mine.begin;
    uint32_t channel = first;
    EDGEC_UNROLL_1
    for (uint32_t part = 0; part < 2u; part++) {
        scale_channels(c, acc, channel, count);
        acc += a->m * a->groups * a->tile;
        channel += c->width;
    }
    float *gate = a->y + first;
    EDGEC_UNROLL_1
    for (uint32_t row = a->m; row > 0; row--) {
        edgec_silu_row(gate, gate + c->width, gate, count, 0.0f);
        gate += n;
    }
}

/* Whole groups, of any number of rows. */
EDGEC_APART void quantize_groups(const edgec_matmul_w4a8_silu_neureka_args *a, uint32_t core,
                                 uint32_t n_cores) {
    const uint32_t width = a->n / 2u, size = a->out_group;
    const uint32_t groups = edgec_groups(width, size);
    const edgec_range mine = edgec_share(a->m * groups, core, n_cores);
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t row = a->m > 1u ? unit / groups : 0u;
        const uint32_t first = (unit - row * groups) * size;
        const uint32_t count = edgec_p_minu(width - first, size);
        const float *v = a->y + (size_t)row * a->n + first;
        int32_t sum;
        a->scale[unit] = edgec_quantize_under(edgec_top(v, count, 0.0f), v,
                                              a->q + (size_t)row * width + first, count, &sum);
        if (a->sums) {
            a->sums[unit] = sum;
        }
    }
}

static void team(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_NEUREKA_TEAM(args, core, n_cores, share);
    hal_barrier();
    edgec_parts *p = &((call *)(uintptr_t)args)->parts;
    const edgec_matmul_w4a8_silu_neureka_args *a = p->a;
    if (EDGEC_SELDOM(p->cut.groups == 0)) {
        quantize_groups(a, core, n_cores);
        return;
    }
    edgec_parts_quantize(&p->cut, p, a->y, a->q, a->scale, core, n_cores);
}

EDGEC_APART void product(const edgec_matmul_w4a8_silu_neureka_args *a) {
    call c;
    c.call.addend = NULL;
    edgec_neureka_begin(&c.call, (const edgec_neureka_args *)a, 2);
    c.parts.a = a;
    c.parts.cut = edgec_parts_cut(a->m, a->n / 2u, a->out_group, EDGEC_GROUPS);
    hal_fork_team(team, &c);
    if (a->sums && c.parts.cut.groups > 0) {
        edgec_parts_sums(&c.parts.cut, &c.parts, a->sums);
    }
}

EDGEC_MATMUL_SILU_NEUREKA(w2a8_silu_neureka)
EDGEC_MATMUL_SILU_NEUREKA(w3a8_silu_neureka)
EDGEC_MATMUL_SILU_NEUREKA(w4a8_silu_neureka)
EDGEC_MATMUL_SILU_NEUREKA(w5a8_silu_neureka)
EDGEC_MATMUL_SILU_NEUREKA(w6a8_silu_neureka)
EDGEC_MATMUL_SILU_NEUREKA(w7a8_silu_neureka)
EDGEC_MATMUL_SILU_NEUREKA(w8a8_silu_neureka)
EDGEC_MATMUL_SILU_NEUREKA(w8a8_silu_neureka_1x1)
