#include "attention.h"

#include "attention_head_generic.h"
#include "edgec_fork.h"

static void edgec_attention_heads(const void *args, uint32_t core, uint32_t n_cores) {
    const edgec_attention_args *a = args;
    const edgec_range mine = edgec_split(a->m * a->n_heads, core, n_cores);
    const uint32_t d = a->head_dim, kv = a->n_kv_heads, stride = kv * d;
    const uint32_t per_kv = a->n_heads / kv;
    const size_t place = core % a->rooms; /* a HAL with more cores runs them one after the other */
    float *s = a->s + place * a->lds;     /* [length] */
    uint8_t *p = a->p + place * a->lds;   /* [length] */
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t row = unit / a->n_heads;
        const uint32_t j = unit % a->n_heads / per_kv;
        const uint32_t length = a->pos + row + 1u;
        edgec_scores_head(a->q + (size_t)unit * d, a->k + (size_t)j * d, stride, d,
                          a->q_scale[unit] * a->factor, a->k_scale + j, kv, s, length);
        const float scale = edgec_softmax_of_row(s, p, a->v_scale + j, length, 0, kv);
        float *y = a->y + (size_t)unit * d; /* [head_dim] */
        for (uint32_t i = 0; i < d; i += EDGEC_BLOCK) {
            const uint32_t width = d - i < EDGEC_BLOCK ? d - i : EDGEC_BLOCK;
            int32_t acc[EDGEC_BLOCK];
            edgec_values_head(p, a->v + (size_t)j * d + i, stride, width, length, 1, acc);
            for (uint32_t e = 0; e < width; e++) {
                y[i + e] = (float)acc[e] * scale;
            }
        }
    }
}

void edgec_attention(const edgec_attention_args *a, uint32_t core, uint32_t n_cores) {
    (void)core;
    (void)n_cores;
    hal_fork(edgec_attention_heads, a);
}
