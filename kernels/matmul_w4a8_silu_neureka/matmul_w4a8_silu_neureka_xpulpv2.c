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
        a->scale[unit] = edgec_quantize_under(edgec_top(v, count, 0.0f), v,
                                              a->q + (size_t)row * width + first, count, &a->sums[unit]);
    }
}

static void team(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_NEUREKA_TEAM(args, core, n_cores, share);
    hal_barrier();
    edgec_parts *p = &((call *)(uintptr_t)args)->parts;
    const edgec_matmul_w4a8_silu_neureka_args *a = p->a;
    if (EDGEC_SELDOM(p->groups == 0)) {
        quantize_groups(a, core, n_cores);
        return;
    }
    edgec_parts_quantize(p, a->y, a->q, a->scale, core, n_cores);
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

/* `count` channels of a row of a tile, from the tile's `begin` on. */
EDGEC_INLINE uint32_t gate_channels(const edgec_neureka_args *a, const edgec_neureka_tile *t, uint32_t row,
                                    uint32_t begin, uint32_t count, uint32_t top) {
    const int32_t *acc = t->acc + row * a->tile + begin;
    const uint32_t channel = t->first + begin;
    const float *w = widened(a) + channel;
    const edgec_gate_span span = {acc, acc + a->m * a->tile, w, w + widened_step(a),
                                  a->y + row * a->n + channel};
    return gate_times_up(span, count, a->x_scale[row] * F16_UNIT, top);
}

/* A single row: tops of cores' channels are those of a row that is one group. */
static void team_of_row(const void *args, uint32_t core, uint32_t n_cores) {
    call *const own = (call *)(uintptr_t)args;
    edgec_neureka_call *const c = &own->call; /* core 0 writes to it */
    const edgec_matmul_w4a8_silu_neureka_args *a = own->parts.a;
    const edgec_neureka_tile *t = c->tiles;
    uint32_t end, top = 0;
    if (core == 0) {
        edgec_neureka_feed(c);
    }
    widen_share(c->a, core, n_cores);
    for (;;) {
        edgec_neureka_meet(c, core);
        const edgec_range mine = edgec_share(t->count, core, n_cores);
        if (!EDGEC_SELDOM(mine.begin == mine.end)) {
            top = gate_channels(c->a, t, 0, mine.begin, mine.end - mine.begin, top);
        }
        end = t->first + t->count;
        if (end == c->width) {
            break;
        }
        t = edgec_neureka_after(c, t);
        if (core == 0) {
            edgec_neureka_feed(c);
        }
    }
    edgec_parts *p = &own->parts;
    if (EDGEC_SELDOM(p->groups != 1u || n_cores > EDGEC_PARTS)) {
        hal_barrier();
        if (p->groups == 0) {
            quantize_groups(a, core, n_cores);
        } else {
            edgec_parts_quantize(p, a->y, a->q, a->scale, core, n_cores);
        }
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
    if (is_plain_call(a) && a->m == 1u) {
        members = team_of_row;
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
