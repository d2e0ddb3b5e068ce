/* Several rows, for cores with XpulpV2, and any calls where floats have registers of their own. They are shared by the
 * channels of a tile, or, where the cores have as many each, by rows: then nothing waits. */
#ifndef EDGEC_MATMUL_W4A8_SILU_NEUREKA_ROWS_XPULPV2_H
#define EDGEC_MATMUL_W4A8_SILU_NEUREKA_ROWS_XPULPV2_H

#include "matmul_w4a8_silu_neureka_gate_xpulpv2.h"
#include "matmul_w4a8_silu_neureka_quantize_xpulpv2.h"

typedef struct {
    edgec_neureka_call call; /* first: the team's functions get it */
    edgec_parts parts;
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

static void team(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_NEUREKA_TEAM(args, core, n_cores, share);
    hal_barrier();
    edgec_parts *const p = &((call *)(uintptr_t)args)->parts;
    quantize(p->a, &p->cut, p, core, n_cores);
}

#if defined(EDGEC_PULP_FLOAT)
/* Several rows, shared by the channels of tiles. */
EDGEC_INLINE void by_channels(call *own, uint32_t core, uint32_t n_cores) {
    edgec_neureka_call *const c = &own->call;
    const edgec_matmul_w4a8_silu_neureka_args *a = own->parts.a;
    const edgec_neureka_tile *t = c->tiles;
    uint32_t end;
    do {
        edgec_neureka_meet(c, core);
        const edgec_range mine = edgec_share(t->count, core, n_cores);
        for (uint32_t row = 0; row < a->m && mine.begin < mine.end; row++) {
            const int32_t *acc = t->acc + row * a->tile + mine.begin;
            add_tails(a, acc, row, t->first + mine.begin, mine.end - mine.begin);
            gate_times_up(gate_span_of(a, acc, row, t->first + mine.begin), mine.end - mine.begin,
                          a->x_scale[row] * F16_UNIT, 0);
        }
        end = t->first + t->count;
        t = edgec_neureka_after(c, t);
        if (core == 0) {
            edgec_neureka_feed(c);
        }
    } while (end < c->width);
    hal_barrier();
    quantize(a, &own->parts.cut, &own->parts, core, n_cores);
}

/* Several rows, each of one core, which has all of its channels, their groups' tops where their scales will be, and
 * quantises it without waiting for others. */
EDGEC_INLINE void by_rows(call *own, edgec_range rows, uint32_t core) {
    edgec_neureka_call *const c = &own->call;
    const edgec_matmul_w4a8_silu_neureka_args *a = own->parts.a;
    const edgec_neureka_tile *t = c->tiles;
    const uint32_t width = c->width, groups = edgec_groups(width, a->out_group);
    const edgec_range units = {rows.begin * groups, rows.end * groups};
    uint32_t group = 0, left = edgec_p_minu(a->out_group, width); /* of the group */
    uint32_t end;
    for (uint32_t unit = units.begin; unit < units.end; unit++) {
        a->scale[unit] = 0.0f;
    }
    do {
        edgec_neureka_meet(c, core);
        uint32_t channel = t->first;
        end = channel + t->count;
        do { /* what the tile has of a group */
            const uint32_t count = edgec_p_minu(end - channel, left);
            float *top = a->scale + units.begin + group;
            for (uint32_t row = rows.begin; row < rows.end; row++) {
                const int32_t *acc = t->acc + row * a->tile + (channel - t->first);
                add_tails(a, acc, row, channel, count);
                *top = edgec_float(gate_times_up(gate_span_of(a, acc, row, channel), count,
                                                 a->x_scale[row] * F16_UNIT, edgec_bits(*top) << 1) >>
                                   1);
                top += groups;
            }
            channel += count;
            left -= count;
            if (left == 0) {
                group++;
                left = edgec_p_minu(a->out_group, width - channel);
            }
        } while (channel < end);
        t = edgec_neureka_after(c, t);
        if (core == 0) {
            edgec_neureka_feed(c);
        }
    } while (end < width);
    quantize_units(a, units, 1);
}

static void team_of_rows(const void *args, uint32_t core, uint32_t n_cores) {
    call *const own = (call *)(uintptr_t)args; /* cores write to it */
    const edgec_matmul_w4a8_silu_neureka_args *a = own->parts.a;
    const uint32_t most = edgec_share(a->m, 0, n_cores).end; /* rows of a core */
    if (core == 0) {
        edgec_neureka_feed(&own->call);
    }
    widen_share(a, core, n_cores);
    if (4u * most * n_cores <= 5u * a->m) { /* hardly a core is idle */
        by_rows(own, edgec_share(a->m, core, n_cores), core);
    } else {
        by_channels(own, core, n_cores);
    }
}
#endif

#endif
