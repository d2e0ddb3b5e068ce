/* The kernels of matmul_w4a8_silu_neureka.h for cores with XpulpV2.
 *
 * Where each channel has one scale and no bias, as a rule, a loop goes from the engine's sums to v (..._gate_xpulpv2.h),
 * with w_scale as floats, which the cores make while the engine multiplies the first tile. The loop also finds the tops,
 * so that what is left behind the last tile is to quantise. Rows are shared by the channels of a tile, or, where the cores
 * have as many each, by rows: then nothing waits. All other calls scale gate and up, then multiply them. */
#include "matmul_w4a8_silu_neureka_call.h"

#include "../matmul_w4a8_neureka/matmul_w4a8_neureka_row.h"
#include "edgec_parts_xpulpv2.h"
#include "matmul_w4a8_silu_neureka_gate_xpulpv2.h"

#define EDGEC_GROUPS 4u /* that a row in parts has at most */

typedef struct {
    edgec_neureka_call call; /* first: the team's functions get it */
    edgec_parts parts;       /* of a single row */
} call;

/* Units of v quantised, groups of rows one after the other. tops: whether theirs are where their scales will be. */
EDGEC_APART void quantize_units(const edgec_matmul_w4a8_silu_neureka_args *a, edgec_range units, int tops) {
    const uint32_t width = a->n / 2u, size = a->out_group, groups = edgec_groups(width, size);
    for (uint32_t unit = units.begin; unit < units.end; unit++) {
        const uint32_t row = a->m > 1u ? unit / groups : 0u;
        const uint32_t first = (unit - row * groups) * size;
        const uint32_t count = edgec_p_minu(width - first, size);
        const float *v = a->y + (size_t)row * a->n + first;
        const float top = tops ? a->scale[unit] : edgec_top(v, count, 0.0f);
        int32_t sum;
        a->scale[unit] = edgec_quantize_under(top, v, a->q + (size_t)row * width + first, count, &sum);
        if (a->sums) {
            a->sums[unit] = sum;
        }
    }
}

/* A core's part in quantising v. */
EDGEC_INLINE void quantize(const edgec_matmul_w4a8_silu_neureka_args *a, const edgec_cut *cut, edgec_parts *p,
                           uint32_t core, uint32_t n_cores) {
    if (EDGEC_SELDOM(cut->groups == 0)) {
        quantize_units(p->a, edgec_share(a->m * edgec_groups(a->n / 2u, a->out_group), core, n_cores), 0);
    } else {
        edgec_parts_quantize(cut, p, a->y, a->q, a->scale, core, n_cores);
    }
}

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
/* Whether gate_times_up can be used for `rows` rows from one on. */
EDGEC_INLINE int is_plain_for(const edgec_matmul_w4a8_silu_neureka_args *a, uint32_t rows) {
    uint32_t top = 0, q;
    if (EDGEC_SELDOM(a->groups > 1u || a->bias)) {
        return 0;
    }
    if (rows == 1u) {
        return edgec_abs(a->x_scale[0]) < F16_UNIT_LIMIT;
    }
    const float *x_scale = a->x_scale;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[rows]", "4",
            EDGEC_P_LW("%[q]", "4", "%[x]")
            "nop\n\t"
            "slli %[q], %[q], 1\n\t"
            EDGEC_P_MAXU("%[top]", "%[top]", "%[q]"))
        : [x] "+r"(x_scale), [top] "+r"(top), [q] "=&r"(q)
        : [rows] "r"(rows)
        : "memory");
    /* clang-format on */
    return top < edgec_bits(F16_UNIT_LIMIT) << 1;
}

/* Where the scales of gate's channels are as floats, and how far behind them those of up's: in y, where a row's v does
 * not come, or, of a single row, where it comes behind their use. */
EDGEC_INLINE float *widened(const edgec_matmul_w4a8_silu_neureka_args *a) {
    return a->m > 1u ? a->y + a->n / 2u : a->y;
}

EDGEC_INLINE uint32_t widened_step(const edgec_matmul_w4a8_silu_neureka_args *a) {
    return a->m > 1u ? a->n : a->n / 2u;
}

/* A core's share of the scales: core 0 has none, as it starts jobs meanwhile. All are there when the cores meet for the
 * first tile. */
EDGEC_INLINE void widen_share(const edgec_matmul_w4a8_silu_neureka_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t width = a->n / 2u, others = n_cores - 1u;
    const edgec_range mine = others == 0 ? (edgec_range){0, width} : edgec_share(width, core - 1u, others);
    if ((core == 0 && others > 0) || EDGEC_SELDOM(mine.begin == mine.end)) {
        return;
    }
    const uint16_t *from = a->w_scale + mine.begin;
    float *to = widened(a) + mine.begin;
    EDGEC_UNROLL_1
    for (uint32_t part = 0; part < 2u; part++) {
        widen(from, to, mine.end - mine.begin);
        from += width;
        to += widened_step(a);
    }
}

/* Channels of a row from `channel` on, whose sums of gate begin at acc. */
EDGEC_INLINE edgec_gate_span gate_span_of(const edgec_matmul_w4a8_silu_neureka_args *a, const int32_t *acc,
                                          uint32_t row, uint32_t channel) {
    const float *w = widened(a) + channel;
    return (edgec_gate_span){acc, acc + a->m * a->tile, w, w + widened_step(a), a->y + row * a->n + channel};
}

/* A single row's channels where there are several groups or a bias. */
EDGEC_APART void scale_and_multiply(const edgec_matmul_w4a8_silu_neureka_args *a, const int32_t *acc,
                                    uint32_t channel, uint32_t count) {
    const uint32_t width = a->n / 2u, groups = a->groups;
    const float nothing = -0.0f; /* added, it changes no number, not even -0 */
    uint32_t n = channel;
    EDGEC_UNROLL_1
    for (uint32_t part = 0; part < 2u; part++) {
        const edgec_neureka_span span = {acc,        a->w_scale + n * groups,
                                         a->x_scale, a->bias ? a->bias + n : &nothing,
                                         a->y + n,   a->bias ? (uint32_t)sizeof(float) : 0u,
                                         count};
        scale_span(groups, a->tile, &span);
        acc += groups * a->tile;
        n += width;
    }
    edgec_silu_row(a->y + channel, a->y + channel + width, a->y + channel, count, 0.0f);
}

/* A single row. What does not depend on the engine's sums is found while it works; tops of cores' channels are those of a
 * row that is one group. */
static void team_of_row(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    edgec_parts *const p = edgec_parts_of(args);
    EDGEC_KNOWN(edgec_matmul_w4a8_silu_neureka_args, a, p->a);
    const edgec_neureka_shape shape = EDGEC_NEUREKA_SHAPE(a, 2u);
    const edgec_cut cut = edgec_parts_known(p, a->n / 2u, a->out_group, EDGEC_GROUPS);
    const int plain = is_plain_for(a, 1);
    const float unit = a->x_scale[0] * F16_UNIT;
    edgec_neureka_list list;
    edgec_neureka_list_begin(&list, (const edgec_neureka_next *)p->a, &shape);
    uint32_t first = 0, count = a->first, room = EDGEC_NEUREKA_TILES, top = 0;
    const int32_t *acc = a->acc;
    if (core == 0) {
        edgec_neureka_list_feed(&list, &shape, 2u * a->groups);
    }
    if (!EDGEC_SELDOM(!plain)) {
        widen_share(a, core, n_cores);
    }
    EDGEC_UNROLL_1
    for (;;) {
        const edgec_range mine = edgec_share(count, core, n_cores);
        const edgec_gate_span span = gate_span_of(a, acc + mine.begin, 0, first + mine.begin);
        edgec_neureka_list_meet(&list, &shape, core);
        if (!EDGEC_SELDOM(mine.begin == mine.end)) {
            if (!EDGEC_SELDOM(!plain)) {
                top = gate_times_up(span, mine.end - mine.begin, unit, top);
            } else {
                scale_and_multiply(p->a, acc + mine.begin, first + mine.begin, mine.end - mine.begin);
            }
        }
        first += count;
        if (first == shape.width) {
            break;
        }
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
    if (EDGEC_SELDOM(!plain || cut.groups != 1u || n_cores > EDGEC_PARTS)) {
        hal_barrier();
        quantize(a, &cut, p, core, n_cores);
        return;
    }
    EDGEC_UNROLL_1
    for (uint32_t j = core; j < EDGEC_PARTS; j += n_cores) { /* fewer cores than tops: the others are 0 */
        p->tops[j] = top;
        top = 0;
    }
    hal_barrier();
    edgec_parts_under_tops(&cut, p, a->y, a->q, a->scale, core, n_cores);
}

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

EDGEC_SHARED void product(const edgec_matmul_w4a8_silu_neureka_args *args) {
    EDGEC_KNOWN(edgec_matmul_w4a8_silu_neureka_args, a, args);
    const edgec_cut cut = edgec_parts_cut(a->m, a->n / 2u, a->out_group, EDGEC_GROUPS);
#if defined(EDGEC_PULP_FLOAT)
    if (a->m == 1u) {
        hal_neureka_start((const edgec_neureka_next *)args);
        edgec_parts p;
        p.a = args;
        p.cut = cut;
        hal_fork_team(team_of_row, &p);
        if (a->sums && cut.groups > 0) {
            edgec_parts_sums(&cut, &p, a->sums);
        }
        return;
    }
#endif
    call c;
    c.call.addend = NULL;
    edgec_neureka_begin(&c.call, (const edgec_neureka_args *)args, 2);
    c.parts.a = args;
    c.parts.cut = cut;
    hal_kernel members = team;
#if defined(EDGEC_PULP_FLOAT)
    if (!EDGEC_SELDOM(!is_plain_for(a, a->m))) {
        members = team_of_rows;
    }
#endif
    hal_fork_team(members, &c);
    if (a->sums && cut.groups > 0) {
        edgec_parts_sums(&cut, &c.parts, a->sums);
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
