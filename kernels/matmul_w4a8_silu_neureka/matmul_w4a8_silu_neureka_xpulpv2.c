/* The kernels of matmul_w4a8_silu_neureka.h for cores with XpulpV2.
 *
 * Where each channel has one scale and no bias, as a rule, a loop goes from the engine's sums to v (..._gate_xpulpv2.h),
 * with w_scale as floats, which the cores make while the engine multiplies the first tile. The loop also finds the tops,
 * so that what is left behind the last tile is to quantise. Rows are shared by the channels of a tile, or, where the cores
 * have as many each, by rows: then nothing waits. All other calls scale gate and up, then multiply them. */
#include "matmul_w4a8_silu_neureka_call.h"

#include "edgec_parts_xpulpv2.h"
#include "matmul_w4a8_silu_neureka_gate_xpulpv2.h"

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

/* Units of v quantised, groups of rows one after the other. tops: whether theirs are where their scales will be. */
EDGEC_APART void quantize_units(const edgec_matmul_w4a8_silu_neureka_args *a, edgec_range units, int tops) {
    const uint32_t width = a->n / 2u, size = a->out_group, groups = edgec_groups(width, size);
    for (uint32_t unit = units.begin; unit < units.end; unit++) {
        const uint32_t row = a->m > 1u ? unit / groups : 0u;
        const uint32_t first = (unit - row * groups) * size;
        const uint32_t count = edgec_p_minu(width - first, size);
        const float *v = a->y + (size_t)row * a->n + first;
        const float top = tops ? a->scale[unit] : edgec_top(v, count, 0.0f);
        a->scale[unit] =
            edgec_quantize_under(top, v, a->q + (size_t)row * width + first, count, &a->sums[unit]);
    }
}

/* A core's part in quantising v. */
EDGEC_INLINE void quantize(edgec_parts *p, uint32_t core, uint32_t n_cores) {
    const edgec_matmul_w4a8_silu_neureka_args *a = p->a;
    if (EDGEC_SELDOM(p->groups == 0)) {
        quantize_units(a, edgec_share(a->m * edgec_groups(a->n / 2u, a->out_group), core, n_cores), 0);
    } else {
        edgec_parts_quantize(p, a->y, a->q, a->scale, core, n_cores);
    }
}

static void team(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_NEUREKA_TEAM(args, core, n_cores, share);
    hal_barrier();
    quantize(&((call *)(uintptr_t)args)->parts, core, n_cores);
}

#if defined(EDGEC_PULP_FLOAT)
/* Whether gate_times_up can be used for all rows. */
EDGEC_INLINE int is_plain_call(const edgec_matmul_w4a8_silu_neureka_args *a) {
    if (EDGEC_SELDOM(a->groups > 1u || a->bias)) {
        return 0;
    }
    uint32_t row = 0;
    EDGEC_UNROLL_1
    while (row < a->m && edgec_abs(a->x_scale[row]) < F16_UNIT_LIMIT) {
        row++;
    }
    return row == a->m;
}

/* Where the scales of gate's channels are as floats, and how far behind them those of up's: in y, where a row's v does
 * not come, or, of a single row, where it comes behind their use. */
EDGEC_INLINE float *widened(const edgec_neureka_args *a) {
    return a->m > 1u ? a->y + a->n / 2u : a->y;
}

EDGEC_INLINE uint32_t widened_step(const edgec_neureka_args *a) {
    return a->m > 1u ? a->n : a->n / 2u;
}

/* A core's share of the scales. All have theirs when the cores meet for the first tile. */
EDGEC_INLINE void widen_share(const edgec_neureka_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t width = a->n / 2u;
    const edgec_range mine = edgec_share(width, core, n_cores);
    if (!EDGEC_SELDOM(mine.begin == mine.end)) {
        const uint16_t *from = a->w_scale + mine.begin;
        float *to = widened(a) + mine.begin;
        EDGEC_UNROLL_1
        for (uint32_t part = 0; part < 2u; part++) {
            widen(from, to, mine.end - mine.begin);
            from += width;
            to += widened_step(a);
        }
    }
}

/* `count` channels of a row of a tile, from `channel` on. */
EDGEC_INLINE uint32_t gate_channels(const edgec_neureka_args *a, const edgec_neureka_tile *t, uint32_t row,
                                    uint32_t channel, uint32_t count, uint32_t top) {
    const int32_t *acc = t->acc + row * a->tile + (channel - t->first);
    const float *w = widened(a) + channel;
    const edgec_gate_span span = {acc, acc + a->m * a->tile, w, w + widened_step(a),
                                  a->y + row * a->n + channel};
    return gate_times_up(span, count, a->x_scale[row] * F16_UNIT, top);
}

/* Shared by the channels of tiles. Of a single row that is one group, the tops of cores' channels are the row's. */
EDGEC_INLINE void by_channels(call *own, uint32_t core, uint32_t n_cores) {
    edgec_neureka_call *const c = &own->call;
    edgec_parts *const p = &own->parts;
    const edgec_matmul_w4a8_silu_neureka_args *a = p->a;
    const edgec_neureka_tile *t = c->tiles;
    uint32_t top = 0;
    for (;;) {
        edgec_neureka_meet(c, core);
        const edgec_range mine = edgec_share(t->count, core, n_cores);
        if (!EDGEC_SELDOM(mine.begin == mine.end)) {
            EDGEC_UNROLL_1
            for (uint32_t row = 0; row < a->m; row++) {
                top = gate_channels(c->a, t, row, t->first + mine.begin, mine.end - mine.begin, top);
            }
        }
        if (t->first + t->count == c->width) {
            break;
        }
        t = edgec_neureka_after(c, t);
        if (core == 0) {
            edgec_neureka_feed(c);
        }
    }
    if (EDGEC_SELDOM(p->groups != 1u || n_cores > EDGEC_PARTS)) {
        hal_barrier();
        quantize(p, core, n_cores);
        return;
    }
    EDGEC_UNROLL_1
    for (uint32_t j = core; j < EDGEC_PARTS; j += n_cores) { /* fewer cores than tops: the others are 0 */
        p->tops[j] = top;
        top = 0;
    }
    hal_barrier();
    edgec_parts_under_tops(p, a->y, a->q, a->scale, core, n_cores);
}

/* Shared by rows: a core has all channels of its own, their groups' tops where their scales will be, and quantises them
 * without waiting for others. */
EDGEC_INLINE void by_rows(call *own, edgec_range rows, uint32_t core) {
    edgec_neureka_call *const c = &own->call;
    const edgec_matmul_w4a8_silu_neureka_args *a = own->parts.a;
    const edgec_neureka_tile *t = c->tiles;
    const uint32_t width = c->width, groups = edgec_groups(width, a->out_group);
    float *const tops = a->scale + rows.begin * groups;
    uint32_t group = 0, left = edgec_p_minu(a->out_group, width); /* of the group */
    for (uint32_t i = 0; i < (rows.end - rows.begin) * groups; i++) {
        tops[i] = 0.0f;
    }
    for (;;) {
        edgec_neureka_meet(c, core);
        uint32_t channel = t->first;
        const uint32_t end = channel + t->count;
        do {
            const uint32_t count = edgec_p_minu(end - channel, left);
            float *top = tops + group;
            for (uint32_t row = rows.begin; row < rows.end; row++) {
                *top = edgec_float(
                    gate_channels(c->a, t, row, channel, count, edgec_bits(*top) << 1) >> 1);
                top += groups;
            }
            channel += count;
            left -= count;
            if (left == 0) {
                group++;
                left = edgec_p_minu(a->out_group, width - channel);
            }
        } while (channel < end);
        if (end == width) {
            break;
        }
        t = edgec_neureka_after(c, t);
        if (core == 0) {
            edgec_neureka_feed(c);
        }
    }
    quantize_units(a, (edgec_range){rows.begin * groups, rows.end * groups}, 1);
}

static void plain_team(const void *args, uint32_t core, uint32_t n_cores) {
    call *const own = (call *)(uintptr_t)args; /* cores write to it */
    const uint32_t m = own->call.a->m;
    if (core == 0) {
        edgec_neureka_feed(&own->call);
    }
    widen_share(own->call.a, core, n_cores);
    const edgec_range rows = edgec_share(m, core, n_cores);
    const uint32_t most = edgec_share(m, 0, n_cores).end;
    if (m > 1u && 4u * most * n_cores <= 5u * m) { /* hardly a core is idle */
        by_rows(own, rows, core);
    } else {
        by_channels(own, core, n_cores);
    }
}
#endif

EDGEC_APART void product(const edgec_matmul_w4a8_silu_neureka_args *a) {
    call c;
    c.call.addend = NULL;
    edgec_neureka_begin(&c.call, (const edgec_neureka_args *)a, 2);
    c.parts.a = a;
    if (!edgec_parts_cut(&c.parts, a->m, a->n / 2u, a->out_group, EDGEC_GROUPS)) {
        c.parts.groups = 0;
    }
    hal_kernel members = team;
#if defined(EDGEC_PULP_FLOAT)
    if (is_plain_call(a)) {
        members = plain_team;
    }
#endif
    hal_fork_team(members, &c);
    if (c.parts.groups > 0) {
        edgec_parts_sums(&c.parts, a->sums);
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
