/* The softmax of attention.h for one row and head. */
#ifndef EDGEC_SOFTMAX_H
#define EDGEC_SOFTMAX_H

#include "edgec_kernel.h"
#include "edgec_math.h"

/* A binary16's bits, moved to where a binary32 has its exponent and mantissa, are the number times 2^-112; ratios are
 * computed times 2^-24, where they are finite for every scale: r is then the low half of the bits of r * 2^-24 plus this
 * magic number. */
#define EDGEC_RATIO_UP    0x1p103f /* 2^15 * 2^112 * 2^-24 */
#define EDGEC_RATIO_MAGIC 0.75f    /* 1.5 * 2^23 * 2^-24 */

/* r of a scale; ratio: (1 / most) * EDGEC_RATIO_UP. */
static inline uint32_t edgec_ratio(uint16_t v_scale, float ratio) {
    const float x = edgec_float((uint32_t)v_scale << 13) * ratio;
#if defined(EDGEC_SOFT_FLOAT)
    return (uint32_t)edgec_rint_beside(x, 24, 0);
#else
    return edgec_bits(x + EDGEC_RATIO_MAGIC) & 0xFFFFu;
#endif
}

/* p of a position: e times r, in whole numbers. */
static inline uint32_t edgec_probability(uint32_t e, uint32_t r) {
    return (e * r + (1u << 14)) >> 15;
}

/* One row and head. s: [length]; p: [length + hidden]; v_scale: [length][kv]. Returns the factor of p . v. */
static inline float edgec_softmax_of_row(float *s, uint8_t *p, const uint16_t *v_scale, uint32_t length,
                                         uint32_t hidden, uint32_t kv) {
    const float *end = s + length;
    const uint16_t *scale = v_scale;
    float top = s[0];
    uint32_t most = *scale; /* without a sign, numbers are in the order of their bits */
    EDGEC_UNROLL_4
    for (const float *at = s + 1; at < end; at++) {
        scale += kv;
        top = edgec_max(*at, top);
        most = *scale > most ? *scale : most;
    }
    if (edgec_abs(top) > EDGEC_EXP2_FARTHEST) {
        EDGEC_UNROLL_1
        for (float *at = s; at < end; at++) {
            *at -= top;
        }
        top = 0.0f;
    }
    const float base = EDGEC_EXP2_MAGIC - top;
    const float largest = edgec_f16_to_f32((uint16_t)most);
    const float ratio = most ? 1.0f / largest * EDGEC_RATIO_UP : 0.0f;
    uint32_t total = 0;
    EDGEC_UNROLL_1
    for (const float *at = s; at < end; at++) {
        const int32_t index = edgec_exp2_index(*at, base);
        uint32_t weight = 0;
        if (index > EDGEC_EXP2_LOWEST) {
            const uint32_t entry = (uint32_t)(index - EDGEC_EXP2_LOWEST); /* too large if *at is no number */
            const uint32_t e = edgec_exp2_bytes[entry < EDGEC_EXP2_BYTES ? entry : EDGEC_EXP2_BYTES - 1u];
            weight = edgec_probability(e, edgec_ratio(*v_scale, ratio));
            total += e;
        }
        *p++ = (uint8_t)weight;
        v_scale += kv;
    }
    memset(p, 0, hidden);
    return (largest * (255.0f / (float)(int32_t)total)) * EDGEC_ONE_255TH;
}

#endif
