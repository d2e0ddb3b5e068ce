#include "attention.h"

#include "edgec_rows.h"

void edgec_attention(const edgec_attention_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->m * a->n_heads, core, n_cores);
    const uint32_t d = a->head_dim;
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        int32_t sum;
        a->q_scale[unit] = edgec_quantize_group(a->q + (size_t)unit * d, a->q8 + (size_t)unit * d, d, &sum);
    }
    const uint32_t count = a->pos + a->m;
    edgec_attention_scores(&(edgec_attention_scores_args){.q = a->q8,
                                                          .q_scale = a->q_scale,
                                                          .k = a->k,
                                                          .k_scale = a->k_scale,
                                                          .s = a->s,
                                                          .m = a->m,
                                                          .n_heads = a->n_heads,
                                                          .n_kv_heads = a->n_kv_heads,
                                                          .head_dim = d,
                                                          .first = 0,
                                                          .count = count,
                                                          .lds = a->lds,
                                                          .factor = a->factor},
                           core, n_cores);
    edgec_attention_softmax(&(edgec_attention_softmax_args){.s = a->s,
                                                            .v_scale = a->v_scale,
                                                            .p = a->p,
                                                            .p_scale = a->p_scale,
                                                            .m = a->m,
                                                            .n_heads = a->n_heads,
                                                            .n_kv_heads = a->n_kv_heads,
                                                            .pos = a->pos,
                                                            .lds = a->lds},
                            core, n_cores);
    edgec_attention_values(&(edgec_attention_values_args){.p = a->p,
                                                          .v = a->v,
                                                          .acc = a->acc,
                                                          .m = a->m,
                                                          .n_heads = a->n_heads,
                                                          .n_kv_heads = a->n_kv_heads,
                                                          .head_dim = d,
                                                          .first = 0,
                                                          .count = count,
                                                          .lds = a->lds},
                           core, n_cores);
    edgec_attention_finish(
        &(edgec_attention_finish_args){
            .acc = a->acc, .p_scale = a->p_scale, .y = a->y, .m = a->m, .n_heads = a->n_heads, .head_dim = d},
        core, n_cores);
}
