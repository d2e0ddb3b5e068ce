/* The kernels of matmul_w4a8_mlp_neureka.h for cores with XpulpV2: a team that does both products where v has long groups
 * (..._row_xpulpv2.h), else one call after the other. */
#include "matmul_w4a8_mlp_neureka_row_xpulpv2.h"

EDGEC_SHARED void mlp(const edgec_matmul_w4a8_mlp_neureka_args *args) {
#if defined(EDGEC_PULP_FLOAT)
    EDGEC_KNOWN(edgec_matmul_w4a8_mlp_neureka_args, a, args);
    const edgec_matmul_w4a8_silu_neureka_args gated = edgec_mlp_gated(a);
    if (in_groups(&gated) && !EDGEC_SELDOM(!is_plain_for(&gated, 1))) {
        edgec_mlp_team t;
        t.a = args;
        EDGEC_NEUREKA_FIRST(args, a);
        hal_fork_team(team_of_mlp, &t);
        return;
    }
#endif
#if defined(EDGEC_AHEAD)
    hal_neureka_wait(0); /* for the job that was started, which is started once more */
#endif
    edgec_mlp_apart(args);
}

EDGEC_MATMUL_MLP_NEUREKA(w2a8_mlp_neureka)
EDGEC_MATMUL_MLP_NEUREKA(w3a8_mlp_neureka)
EDGEC_MATMUL_MLP_NEUREKA(w4a8_mlp_neureka)
EDGEC_MATMUL_MLP_NEUREKA(w5a8_mlp_neureka)
EDGEC_MATMUL_MLP_NEUREKA(w6a8_mlp_neureka)
EDGEC_MATMUL_MLP_NEUREKA(w7a8_mlp_neureka)
EDGEC_MATMUL_MLP_NEUREKA(w8a8_mlp_neureka)
EDGEC_MATMUL_MLP_NEUREKA(w8a8_mlp_neureka_1x1)
