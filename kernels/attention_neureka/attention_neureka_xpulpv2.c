/* The kernel of attention_neureka.h for cores with XpulpV2: N-EUREKA multiplies scores at positions where that is faster,
 * which is where the cores share positions and not heads; before, all is attention's. */
#include "../attention/attention_teams_xpulpv2.h"
#include "../attention/attention_words_xpulpv2.h"
#include "attention_neureka_scores_xpulpv2.h"

static void edgec_attention_engine(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_KNOWN(edgec_attention_args, a, edgec_attention_of(args));
    const edgec_attention_neureka_args *given = args;
    edgec_scores_by_engine(a, given->lines, given->sums, core, n_cores);
    hal_barrier();
    edgec_split_weights(a, core, n_cores);
    hal_barrier();
    edgec_split_values(a, core, n_cores, (edgec_shares){0, n_cores, a->n_heads / a->n_kv_heads});
}

void edgec_attention_neureka(const edgec_attention_neureka_args *args, uint32_t core, uint32_t n_cores) {
    (void)core;
    (void)n_cores;
    EDGEC_KNOWN(edgec_attention_args, a, edgec_attention_of(args));
    /* As `form` in edgec/ops/attention_neureka.py. */
    const uint32_t left = a->n_heads % a->cores, teams = 2u * left <= a->cores,
                   many = a->n_heads >= 3u * a->n_kv_heads;
    const uint32_t pairs = !teams ? 560u : left == a->n_heads ? 1000u : 680u;
    const uint32_t least = left == 0 ? 850u : many ? 440u : pairs;
    const uint32_t engine = teams && left > 0 && many ? a->pos * a->head_dim >= 320u * a->cores
                                                      : a->pos * (a->head_dim + 16u) >= least * a->cores;
    hal_kernel members = edgec_attention_words;
    if (a->pos >= a->cores && engine) { /* there are six positions */
        members = edgec_attention_engine;
    } else if (a->pos >= a->cores && teams) {
        members = edgec_attention_teams;
    }
    hal_fork_team(members, args);
}
