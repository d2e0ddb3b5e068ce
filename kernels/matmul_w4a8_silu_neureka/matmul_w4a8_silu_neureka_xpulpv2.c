/* The kernels of matmul_w4a8_silu_neureka.h for cores with XpulpV2.
 *
 * Where each channel has one scale and no bias, as a rule, a loop goes from the engine's sums to v (..._gate_xpulpv2.h),
 * with w_scale as floats, which the cores make while the engine multiplies the first tile. The loop also finds the tops,
 * so that what is left behind the last tile is to quantise, and of a single row of several long groups only the last one
 * (..._groups_xpulpv2.h; ..._row_xpulpv2.h for other single rows, ..._rows_xpulpv2.h for several). All other calls scale
 * gate and up, then multiply them. */
#include "matmul_w4a8_silu_neureka_groups_xpulpv2.h"
#include "matmul_w4a8_silu_neureka_row_xpulpv2.h"
#include "matmul_w4a8_silu_neureka_rows_xpulpv2.h"

#if defined(EDGEC_PULP_FLOAT)
static void team_of_groups(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    n_cores = edgec_p_minu(n_cores, EDGEC_PARTS);                        /* others have no share */
    edgec_gated_groups *const g = (edgec_gated_groups *)(uintptr_t)args; /* cores write words of their own */
    EDGEC_KNOWN(edgec_matmul_w4a8_silu_neureka_args, a, g->a);
    edgec_neureka_list list;
    gate_groups(a, g, (const edgec_neureka_next *)g->a, &list, NULL, core, n_cores);
}
#endif

EDGEC_SHARED void product(const edgec_matmul_w4a8_silu_neureka_args *args) {
    EDGEC_KNOWN(edgec_matmul_w4a8_silu_neureka_args, a, args);
    const edgec_cut cut = edgec_parts_cut(a->m, a->n / 2u, a->out_group, EDGEC_GROUPS);
#if defined(EDGEC_PULP_FLOAT)
    if (a->m == 1u) {
        EDGEC_NEUREKA_FIRST(args, a);
        if (in_groups(a) && !EDGEC_SELDOM(!is_plain_for(a, 1))) {
            edgec_gated_groups g;
            g.a = args;
            hal_fork_team(team_of_groups, &g);
            if (a->sums) {
                sums_of_groups(&g, edgec_groups(a->n / 2u, a->out_group), a->sums);
            }
            return;
        }
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
