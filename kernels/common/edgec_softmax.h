/* The softmax of attention.h for one row and head. */
#ifndef EDGEC_SOFTMAX_H
#define EDGEC_SOFTMAX_H

#include "edgec_kernel.h"
#include "edgec_math.h"

/* Weights are kept as w * 2^-112, which is what a binary16's bits are when they are moved to where a binary32 has its
 * exponent and mantissa: a scale costs one shift. All products are exact multiples of those of w, as w is a multiple
 * of 2^-24 and its 24 bits end above 2^-149. */
#define EDGEC_WEIGHT_UP  0x1p112f
/* From this weight on the factor 255 / w * 2^112 is finite. */
#define EDGEC_WEIGHT_LOW 0x1p-119f

/* One row and head. s, p: [length + hidden]; v_scale: [length][kv]. Returns the factor of p . v. */
static inline float edgec_softmax_of_row(float *s, uint8_t *p, const uint16_t *v_scale, uint32_t length,
                                         uint32_t hidden, uint32_t kv) {
    const float *end = s + length;
    float top = s[0];
    EDGEC_UNROLL_4
    for (const float *at = s + 1; at < end; at++) {
        top = edgec_max(*at, top);
    }
    if (edgec_abs(top) > EDGEC_EXP2_FARTHEST) {
        EDGEC_UNROLL_1
        for (float *at = s; at < end; at++) {
            *at -= top;
        }
        top = 0.0f;
    }
    const float base = EDGEC_EXP2_MAGIC - top;
    uint32_t total = 0;
    float top_weight = 0.0f;
    for (float *at = s; at < end; at++) {
        const int32_t index = edgec_exp2_index(*at, base);
        float w = 0.0f;
        if (index > EDGEC_EXP2_LOWEST) {
            const uint32_t entry = (uint32_t)(index - EDGEC_EXP2_LOWEST); /* too large if *at is no number */
            const uint32_t e = edgec_exp2_bytes[entry < EDGEC_EXP2_BYTES ? entry : EDGEC_EXP2_BYTES - 1u];
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
    return (weight * (255.0f / (float)(int32_t)total)) * EDGEC_ONE_65025TH;
}

#endif
