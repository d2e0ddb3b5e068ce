/* The whole of attention.h in one kernel, for cores with XpulpV2: cores have rows and heads, or share the positions of all
 * heads of a row.
 */
#include "attention_lanes_xpulpv2.h"
#include "attention_split_xpulpv2.h"

void edgec_attention(const edgec_attention_args *args, uint32_t core, uint32_t n_cores) {
    (void)core;
    (void)n_cores;
    EDGEC_KNOWN(edgec_attention_args, a, args);
    if (EDGEC_SELDOM(edgec_splits(a))) {
        edgec_attention_split(a, args);
    } else {
        hal_fork(a->lanes < 3u ? edgec_attention_heads : edgec_attention_lanes, args);
    }
}
