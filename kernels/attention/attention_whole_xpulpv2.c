/* The whole of attention.h in one kernel, for cores with XpulpV2: cores have rows and heads, or share the positions of all
 * heads of a row.
 */
#include "attention_lanes_xpulpv2.h"
#include "attention_split_xpulpv2.h"
#include "attention_teams_xpulpv2.h"
#include "attention_words_xpulpv2.h"

/* A core's rows and heads, one after the other. Rows of a head are neighbours: later ones see more, and every core has some
 * of them. */
EDGEC_COMPACT static void edgec_attention_heads(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_KNOWN(edgec_attention_args, a, args);
    const edgec_range mine = edgec_share(a->m * a->n_heads, core, n_cores);
    uint32_t head = 0, row = mine.begin;
    EDGEC_UNROLL_1
    for (; row >= a->m; row -= a->m) { /* few as a rule: shorter than a division */
        head++;
    }
    /* Whether a core's heads are pairs of neighbours with scales of their own, which are then found together. */
    const int pairs = a->m == 1u && a->n_kv_heads == a->n_heads && a->n_heads % 2u == 0 &&
                      edgec_share(a->n_heads, 0, n_cores).end % 2u == 0;
    uint32_t most = 0;
    for (uint32_t left = mine.end - mine.begin; left > 0; left--) {
        EDGEC_ANEW(a); /* what a head needs is computed for it, not kept in memory from head to head */
        const uint32_t j = a->n_kv_heads == a->n_heads ? head : head * a->n_kv_heads / a->n_heads;
        const uint32_t length = a->pos + row + 1u;
        if (!pairs) {
            most = edgec_most_scale(a->v_scale + j, a->n_kv_heads, length, 0);
        } else if (left % 2u == 0) {
            most = edgec_most_scales(a->v_scale + j, a->n_kv_heads, length);
        } else {
            most >>= 16;
        }
        edgec_attend(a, row * a->n_heads + head, j, length, most & 0xFFFFu, a->s + core * a->lds,
                     a->p + core * a->lds);
        if (++row == a->m) {
            row = 0;
            head++;
        }
    }
}

static void edgec_attention_phases(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_KNOWN(edgec_attention_args, a, args);
    edgec_split_scores(a, core, n_cores);
    hal_barrier();
    edgec_split_weights(a, core, n_cores);
    hal_barrier();
    edgec_split_values(a, core, n_cores, (edgec_shares){0, n_cores, a->n_heads / a->n_kv_heads});
}

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
