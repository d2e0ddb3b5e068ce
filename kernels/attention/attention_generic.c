#include "attention.h"

#include "attention_head_generic.h"

void edgec_attention_scores(const edgec_attention_scores_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->m * a->n_heads, core, n_cores);
    const uint32_t kv = a->n_kv_heads;
    const uint32_t d = a->head_dim;
    const uint32_t per_kv = a->n_heads / kv;
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t j = unit % a->n_heads / per_kv;
        edgec_scores_head(a->q + (size_t)unit * d, a->k + (size_t)j * d, kv * d, d,
                          a->q_scale[unit] * a->factor, a->k_scale + j, kv,
                          a->s + (size_t)unit * a->lds + a->first, a->count);
    }
}

void edgec_attention_values(const edgec_attention_values_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->m * a->n_heads, core, n_cores);
    const uint32_t d = a->head_dim;
    const uint32_t per_kv = a->n_heads / a->n_kv_heads;
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t j = unit % a->n_heads / per_kv;
        edgec_values_head(a->p + (size_t)unit * a->lds + a->first, a->v + (size_t)j * d, a->n_kv_heads * d, d,
                          a->count, a->first == 0, a->acc + (size_t)unit * d);
    }
}

void edgec_attention_finish(const edgec_attention_finish_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->m * a->n_heads, core, n_cores);
    const uint32_t d = a->head_dim;
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const int32_t *acc = a->acc + (size_t)unit * d; /* [head_dim] */
        float *y = a->y + (size_t)unit * d;             /* [head_dim] */
        const float scale = a->p_scale[unit];
        EDGEC_UNROLL_4
        for (uint32_t i = 0; i < d; i++) {
            y[i] = (float)acc[i] * scale;
        }
    }
}
