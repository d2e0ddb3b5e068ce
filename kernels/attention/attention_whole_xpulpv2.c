/* The whole of attention.h in one kernel, for cores with XpulpV2: cores have rows and heads, or share the positions of all
 * heads of a row.
 */
#include "attention_lanes_xpulpv2.h"
#include "attention_split_xpulpv2.h"
#include "attention_teams_xpulpv2.h"
#include "attention_words_xpulpv2.h"

/* Whether cores share the heads of a row: where the plan has room for that. */
EDGEC_INLINE int edgec_splits(const edgec_attention_args *a) {
    return a->found && a->m == 1u && a->head_dim % 4u == 0;
}

/* How (split_form in edgec/ops/attention.py). */
EDGEC_INLINE hal_kernel edgec_split_form(const edgec_attention_args *a) {
    const uint32_t cores = a->cores, left = a->n_heads % cores;
    const int three = a->n_heads >= 3u * a->n_kv_heads; /* have the same keys, which are then loaded once */
    const int teams = 2u * left <= cores;               /* a head that is left over has more than one core */
    const int phases =
        teams ? three && a->pos * a->head_dim >= 384u * cores : a->pos >= (three ? 6u : 10u) * cores;
    if (phases) {
        return edgec_attention_phases;
    }
    return teams && a->pos >= cores ? edgec_attention_teams : edgec_attention_words;
}

void edgec_attention(const edgec_attention_args *args, uint32_t core, uint32_t n_cores) {
    (void)core;
    (void)n_cores;
    EDGEC_KNOWN(edgec_attention_args, a, args);
    if (EDGEC_SELDOM(edgec_splits(a))) {
        hal_fork_team(edgec_split_form(a), args);
    } else if (a->lanes < 3u) {
        hal_fork(edgec_attention_heads, args);
    } else {
        hal_fork(a->head_dim == 4u ? edgec_attention_quads : edgec_attention_lanes, args);
    }
}
