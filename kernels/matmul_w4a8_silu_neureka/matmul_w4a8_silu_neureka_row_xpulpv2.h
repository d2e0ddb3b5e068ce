/* A single row that is quantised when all of v is there, for cores with XpulpV2. */
#ifndef EDGEC_MATMUL_W4A8_SILU_NEUREKA_ROW_XPULPV2_H
#define EDGEC_MATMUL_W4A8_SILU_NEUREKA_ROW_XPULPV2_H

#include "../matmul_w4a8_neureka/matmul_w4a8_neureka_row.h"
#include "matmul_w4a8_silu_neureka_gate_xpulpv2.h"
#include "matmul_w4a8_silu_neureka_quantize_xpulpv2.h"

#if defined(EDGEC_PULP_FLOAT)
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
        EDGEC_ADD_TAILS(add_tail, a, acc, 0, n, count);
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
    edgec_neureka_list_begin(&list, (const edgec_neureka_next *)p->a, &shape, a->fold);
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
        const edgec_range mine = tile_share(count, first + count != shape.width, core, n_cores);
        const edgec_gate_span span = gate_span_of(a, acc + mine.begin, 0, first + mine.begin);
        edgec_neureka_list_meet(&list, &shape, core);
        if (!EDGEC_SELDOM(mine.begin == mine.end)) {
            if (!EDGEC_SELDOM(!plain)) {
                add_tails(a, span.gate_acc, 0, first + mine.begin, mine.end - mine.begin);
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
#endif

#endif
