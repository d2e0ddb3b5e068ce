/* The kernel of silu_mul_quantize.h for cores with XpulpV2. */
#include "silu_mul_quantize.h"

#include "edgec_parts_xpulpv2.h"
#include "edgec_silu_xpulpv2.h"

#define EDGEC_GROUPS 4u /* that a row in parts has at most */

/* Apart, as three callers have it. */
EDGEC_APART float edgec_silu_some(float *gate, const float *up, uint32_t count) {
    return edgec_silu_row(gate, up, gate, count, 0.0f);
}

/* Whole groups, of any number of rows. */
static void edgec_silu_groups(const void *args, uint32_t core, uint32_t n_cores) {
    const edgec_silu_mul_quantize_args *a = args;
    const uint32_t groups = edgec_groups(a->k, a->group_size);
    const edgec_range mine = edgec_share(a->rows * groups, core, n_cores);
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        EDGEC_ANEW(a);
        const uint32_t row = a->rows > 1u ? unit / groups : 0u;
        const uint32_t first = (unit - row * groups) * a->group_size;
        const uint32_t count = edgec_p_minu(a->k - first, a->group_size);
        const size_t at = (size_t)row * a->ldx + first;
        float *gate = a->gate + at; /* [count] */
        const float top = edgec_silu_some(gate, a->up + at, count);
        int32_t sum;
        a->scale[unit] = edgec_quantize_under(top, gate, a->q + (size_t)row * a->k + first, count, &sum);
        if (a->sums) {
            a->sums[unit] = sum;
        }
    }
}

/* One row, by a team: the products, which its parts' cores compute, or all evenly where parts are no eighths; the tops
 * of parts; their values. */
static void edgec_silu_parts(const void *args, uint32_t core, uint32_t n_cores) {
    edgec_parts *c = edgec_parts_of(args);
    const edgec_silu_mul_quantize_args *a = c->a;
    const int even = c->cut.groups << c->cut.log != EDGEC_PARTS;
    if (EDGEC_SELDOM(even)) {
        const edgec_range mine = edgec_share(a->k, core, n_cores);
        if (mine.begin < mine.end) {
            edgec_silu_some(a->gate + mine.begin, a->up + mine.begin, mine.end - mine.begin);
        }
        hal_barrier();
    }
    EDGEC_UNROLL_1
    for (uint32_t j = core; j < EDGEC_PARTS; j += n_cores) {
        const edgec_part p = edgec_parts_at(&c->cut, j);
        float *gate = a->gate + p.begin;
        if (EDGEC_SELDOM(even || p.count == 0)) {
            c->tops[j] = edgec_parts_top(gate, p.count);
        } else {
            c->tops[j] = edgec_bits(edgec_silu_some(gate, a->up + p.begin, p.count)) << 1;
        }
    }
    hal_barrier();
    edgec_parts_under_tops(&c->cut, c, a->gate, a->q, a->scale, core, n_cores);
}

void edgec_silu_mul_quantize(const edgec_silu_mul_quantize_args *a, uint32_t core, uint32_t n_cores) {
    (void)core;
    (void)n_cores;
    edgec_parts c;
    c.a = a;
    c.cut = edgec_parts_cut(a->rows, a->k, a->group_size, EDGEC_GROUPS);
    if (EDGEC_SELDOM(c.cut.groups == 0)) {
        hal_fork(edgec_silu_groups, a);
        return;
    }
    hal_fork_team(edgec_silu_parts, &c);
    if (a->sums) {
        edgec_parts_sums(&c.cut, &c, a->sums);
    }
}
