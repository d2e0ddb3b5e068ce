/* The kernel of quantize_dynamic.h for cores with XpulpV2. */
#include "quantize_dynamic.h"

#include "edgec_parts_xpulpv2.h"

#define EDGEC_GROUPS 2u /* that a row in parts has at most */

/* Whole groups, of any number of rows. */
static void edgec_quantize_groups(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_KNOWN(edgec_quantize_dynamic_args, a, args);
    EDGEC_ALL_CORES(n_cores);
    const uint32_t size = a->group_size;
    const uint32_t groups = edgec_groups(a->k, size);
    const edgec_range mine = edgec_share(a->rows * groups, core, n_cores);
    uint32_t group = mine.begin;
    size_t at = (size_t)group * size; /* first element of the group */
    if (a->rows > 1u) {
        group = mine.begin % groups;
        at = (size_t)(mine.begin / groups) * a->k + group * size;
    }
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t count = edgec_p_minu(a->k - group * size, size);
        int32_t sum;
        const float *x = a->x + at;
        a->scale[unit] = edgec_quantize_under(edgec_top(x, count, 0.0f), x, a->q + at, count, &sum);
        if (a->sums) {
            a->sums[unit] = sum;
        }
        at += count;
        group = group + 1u < groups ? group + 1u : 0u;
    }
}

/* One row, by a team. */
static void edgec_quantize_row(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_ASSUME(core < n_cores);
    edgec_parts *c = edgec_parts_of(args);
    EDGEC_KNOWN(edgec_quantize_dynamic_args, a, c->a);
    const edgec_cut cut = edgec_parts_known(c, a->k, a->group_size, EDGEC_GROUPS);
    edgec_parts_quantize(&cut, c, a->x, a->q, a->scale, core, n_cores);
}

void edgec_quantize_dynamic(const edgec_quantize_dynamic_args *args, uint32_t core, uint32_t n_cores) {
    (void)core;
    (void)n_cores;
    EDGEC_KNOWN(edgec_quantize_dynamic_args, a, args);
    const edgec_cut cut = edgec_parts_cut(a->rows, a->k, a->group_size, EDGEC_GROUPS);
    if (EDGEC_SELDOM(cut.groups == 0)) {
        hal_fork(edgec_quantize_groups, args);
        return;
    }
    edgec_parts c;
    edgec_parts_begin(&c, args, cut);
    hal_fork_team(edgec_quantize_row, &c);
    if (a->sums) {
        edgec_parts_sums(&cut, &c, a->sums);
    }
}
