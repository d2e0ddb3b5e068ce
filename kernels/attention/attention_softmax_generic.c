#include "attention.h"

#include "edgec_math.h"

/* Weights are kept as w * 2^-112, which is what a binary16's bits are when they are moved to where a binary32 has its
 * exponent and mantissa: a scale costs one shift. All products are exact multiples of those of w, as w is a multiple
 * of 2^-24 and its 24 bits end above 2^-149. */
#define EDGEC_WEIGHT_UP  0x1p112f
/* From this weight on the factor 255 / w * 2^112 is finite. */
#define EDGEC_WEIGHT_LOW 0x1p-119f

/* One row and head. s, p: [length + hidden]; v_scale: [length][kv]. Returns the factor of p . v. */
static float edgec_softmax_row(float *s, uint8_t *p, const uint16_t *v_scale, uint32_t length,
                               uint32_t hidden, uint32_t kv) {
    const float *end = s + length;
    float top = s[0];
    EDGEC_UNROLL_4
    for (const float *at = s + 1; at < end; at++) {
        top = edgec_max(*at, top);
    }
    uint32_t total = 0;
    float top_weight = 0.0f;
    for (float *at = s; at < end; at++) {
        const int32_t index = edgec_exp2_index(*at - top);
        float w = 0.0f;
        if (index >= EDGEC_EXP2_LOWEST) {
            const uint32_t e = edgec_exp2_power(index);
            w = (float)(int32_t)e * edgec_float((uint32_t)*v_scale << 13);
            total += e;
            top_weight = edgec_max(w, top_weight);
        }
        *at = w; /* in place of the score, which is not needed again */
        v_scale += kv;
    }
    const float weight = top_weight * EDGEC_WEIGHT_UP;
    float inverse = weight > 0.0f ? 255.0f / weight : 0.0f;
    if (top_weight >= EDGEC_WEIGHT_LOW) {
        inverse *= EDGEC_WEIGHT_UP;
    } else {
        for (uint32_t t = 0; t < length; t++) {
            s[t] *= EDGEC_WEIGHT_UP;
        }
    }
    EDGEC_UNROLL_4
    for (float *at = s; at < end; at++) {
        *p++ = (uint8_t)edgec_rint_i32(*at * inverse);
    }
    memset(p, 0, hidden);
    return (weight * EDGEC_ONE_255TH) / (float)total;
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
