#include "attention.h"

#include "edgec_math.h"

/* One row and head. s, p: [length + hidden]; v_scale: [length][kv]. Returns the factor of p . v. */
static float edgec_softmax_row(float *s, uint8_t *p, const uint16_t *v_scale, uint32_t length,
                               uint32_t hidden, uint32_t kv) {
    float top = s[0];
    EDGEC_UNROLL_4
    for (uint32_t t = 1; t < length; t++) {
        top = edgec_max(s[t], top);
    }
    uint32_t total = 0;
    float top_weight = 0.0f;
    for (uint32_t t = 0; t < length; t++) {
        const uint32_t e = edgec_exp2_q15(edgec_rint_i32(edgec_max(s[t] - top, -17.0f) * 4096.0f));
        const float w = (float)e * edgec_f16_to_f32(*v_scale);
        total += e;
        top_weight = edgec_max(w, top_weight);
        s[t] = w; /* in place of the score, which is not needed again */
        v_scale += kv;
    }
    const float inverse = top_weight > 0.0f ? 255.0f / top_weight : 0.0f;
    EDGEC_UNROLL_4
    for (uint32_t t = 0; t < length; t++) {
        p[t] = (uint8_t)edgec_rint_i32(s[t] * inverse);
    }
    memset(p + length, 0, hidden);
    return (top_weight * EDGEC_ONE_255TH) / (float)total;
}

void edgec_attention_softmax(const edgec_attention_softmax_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->m * a->n_heads, core, n_cores);
    const uint32_t kv = a->n_kv_heads;
    const uint32_t per_kv = a->n_heads / kv;
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t row = unit / a->n_heads;
        const uint32_t j = unit % a->n_heads / per_kv;
        const size_t at = (size_t)unit * a->lds;
        a->p_scale[unit] =
            edgec_softmax_row(a->s + at, a->p + at, a->v_scale + j, a->pos + row + 1u, a->m - row - 1u, kv);
    }
}
