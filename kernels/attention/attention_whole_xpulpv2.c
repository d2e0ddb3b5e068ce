/* The whole of attention.h in one kernel, for cores with XpulpV2: cores have rows and heads, or share the positions of all
 * heads of a row.
 */
#include "attention_lanes_xpulpv2.h"
#include "attention_split_xpulpv2.h"
#include "attention_words_xpulpv2.h"

/* Whether cores share the heads of a row: where the plan has room for that. */
EDGEC_INLINE int edgec_splits(const edgec_attention_args *a) {
    return a->found && a->m == 1u && a->head_dim % 4u == 0;
}

/* And from which position on in phases (split_from in edgec/ops/attention.py): earlier where three heads share keys. */
EDGEC_INLINE uint32_t edgec_split_from(const edgec_attention_args *a) {
    return (a->n_heads >= 3u * a->n_kv_heads ? 6u : 10u) * a->cores;
}

void edgec_attention(const edgec_attention_args *args, uint32_t core, uint32_t n_cores) {
    (void)core;
    (void)n_cores;
    EDGEC_KNOWN(edgec_attention_args, a, args);
    if (EDGEC_SELDOM(edgec_splits(a))) {
        hal_fork_team(a->pos < edgec_split_from(a) ? edgec_attention_words : edgec_attention_phases, args);
    } else if (a->lanes < 3u) {
        hal_fork(edgec_attention_heads, args);
    } else {
        hal_fork(a->head_dim == 4u ? edgec_attention_quads : edgec_attention_lanes, args);
    }
}
