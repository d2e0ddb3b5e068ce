#include "matmul_w4a8_silu_neureka_call.h"

#include "edgec_rows.h"
#include "edgec_silu.h"

/* Scales a core's share of a tile of gate and up, and multiplies them. */
EDGEC_INLINE void scale(const edgec_neureka_call *c, const edgec_neureka_tile *t, uint32_t core,
                        uint32_t n_cores) {
    const edgec_neureka_args *a = c->a;
    const edgec_range mine = edgec_split(t->count, core, n_cores);
    const uint32_t count = mine.end - mine.begin, first = t->first + mine.begin;
    const size_t row_sums = a->groups * a->tile;
    for (uint32_t row = 0; row < a->m; row++) {
        const int32_t *acc = t->acc + row * row_sums + mine.begin, *up_acc = acc + a->m * row_sums;
        EDGEC_ADD_TAILS(edgec_neureka_add_tail, a, acc, row, first, count);
        EDGEC_ADD_TAILS(edgec_neureka_add_tail, a, up_acc, row, c->width + first, count);
        edgec_neureka_scale(c, acc, row, first, count);
        edgec_neureka_scale(c, up_acc, row, c->width + first, count);
        float *gate = a->y + (size_t)row * a->n + first, *up = gate + c->width;
        for (uint32_t i = 0; i < count; i++) {
            gate[i] = edgec_silu(gate[i]) * up[i];
        }
    }
}

static void team(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_NEUREKA_TEAM(args, core, n_cores, scale);
}

static void quantize(const void *args, uint32_t core, uint32_t n_cores) {
    const edgec_matmul_w4a8_silu_neureka_args *a = args;
    const uint32_t width = a->n / 2u, groups = (width + a->out_group - 1u) / a->out_group;
    const edgec_range mine = edgec_split(a->m * groups, core, n_cores);
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t row = unit / groups, first = unit % groups * a->out_group;
        const uint32_t count = width - first < a->out_group ? width - first : a->out_group;
        const float *v = a->y + (size_t)row * a->n + first;
        int32_t sum;
        a->scale[unit] = edgec_quantize_group(v, a->q + (size_t)row * width + first, count, &sum);
        if (a->sums) {
            a->sums[unit] = sum;
        }
    }
}

EDGEC_APART void product(const edgec_matmul_w4a8_silu_neureka_args *a) {
    edgec_neureka_call c;
    c.addend = NULL;
    edgec_neureka_begin(&c, (const edgec_neureka_args *)a, 2);
    hal_fork_team(team, &c);
    hal_fork(quantize, a);
}

EDGEC_MATMUL_SILU_NEUREKA(w2a8_silu_neureka)
EDGEC_MATMUL_SILU_NEUREKA(w3a8_silu_neureka)
EDGEC_MATMUL_SILU_NEUREKA(w4a8_silu_neureka)
EDGEC_MATMUL_SILU_NEUREKA(w5a8_silu_neureka)
EDGEC_MATMUL_SILU_NEUREKA(w6a8_silu_neureka)
EDGEC_MATMUL_SILU_NEUREKA(w7a8_silu_neureka)
EDGEC_MATMUL_SILU_NEUREKA(w8a8_silu_neureka)
EDGEC_MATMUL_SILU_NEUREKA(w8a8_silu_neureka_1x1)
