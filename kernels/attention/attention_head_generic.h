/* One row and head of attention.h, in plain C: its scores, its softmax, and its values. */
#ifndef EDGEC_ATTENTION_HEAD_GENERIC_H
#define EDGEC_ATTENTION_HEAD_GENERIC_H

#include "edgec_kernel.h"
#include "edgec_math.h"
#include "edgec_softmax.h"

/* Positions whose scores are computed together, so that one load of q serves them all. */
#define EDGEC_SCORES_STRIP 4u
/* Elements of a head that stay in registers while the positions pass: queries, or accumulators. */
#define EDGEC_BLOCK        8u

/* A score's factor. k_scale's bits, moved to where a binary32 has its exponent and mantissa, are the number times
 * 2^-112; `scale` makes up for it. */
EDGEC_INLINE float edgec_score(int32_t dot, float scale, const uint16_t *k_scale) {
    return (float)dot * (scale * edgec_float((uint32_t)*k_scale << 13));
}

/* s[t] of all positions, for a head of EDGEC_BLOCK elements: the query stays in registers. Arguments as below. */
EDGEC_APART void edgec_scores_short(const int8_t *q, const int8_t *k, uint32_t stride, float scale,
                                    const uint16_t *k_scale, uint32_t kv, float *s, const float *end) {
    const int32_t q0 = q[0], q1 = q[1], q2 = q[2], q3 = q[3], q4 = q[4], q5 = q[5], q6 = q[6], q7 = q[7];
    EDGEC_UNROLL_1
    for (; s < end; s++) {
        const int32_t low = k[0] * q0 + k[1] * q1 + k[2] * q2 + k[3] * q3;
        const int32_t high = k[4] * q4 + k[5] * q5 + k[6] * q6 + k[7] * q7;
        *s = edgec_score(low + high, scale, k_scale);
        k += stride;
        k_scale += kv;
    }
}

/* s[t] of `rows` neighbouring positions. q: [d]; k: [rows][stride] of which [d] is read; k_scale: [rows][kv].
 */
EDGEC_INLINE void edgec_scores_strip(uint32_t rows, const int8_t *q, const int8_t *k, uint32_t stride,
                                     uint32_t d, float scale, const uint16_t *k_scale, uint32_t kv,
                                     float *s) {
    int32_t acc[EDGEC_SCORES_STRIP] = {0};
    const int8_t *at[EDGEC_SCORES_STRIP];
    EDGEC_UNROLL_4
    for (uint32_t r = 0; r < rows; r++) {
        at[r] = k + r * stride;
    }
    const int8_t *end = q + d;
    EDGEC_UNROLL_1
    for (const int8_t *whole = q + d / 4u * 4u; q < whole; q += 4) {
        EDGEC_UNROLL_4
        for (uint32_t r = 0; r < rows; r++) {
            acc[r] += at[r][0] * q[0] + at[r][1] * q[1] + at[r][2] * q[2] + at[r][3] * q[3];
            at[r] += 4;
        }
    }
    EDGEC_UNROLL_1
    for (; q < end; q++) {
        EDGEC_UNROLL_4
        for (uint32_t r = 0; r < rows; r++) {
            acc[r] += *at[r]++ * *q;
        }
    }
    EDGEC_UNROLL_4
    for (uint32_t r = 0; r < rows; r++) {
        s[r] = edgec_score(acc[r], scale, k_scale + r * kv);
    }
}

/* s[t] of all positions, a strip at a time. */
EDGEC_APART void edgec_scores_long(const int8_t *q, const int8_t *k, uint32_t stride, uint32_t d, float scale,
                                   const uint16_t *k_scale, uint32_t kv, float *s, uint32_t count) {
    for (; count >= EDGEC_SCORES_STRIP; count -= EDGEC_SCORES_STRIP) {
        edgec_scores_strip(EDGEC_SCORES_STRIP, q, k, stride, d, scale, k_scale, kv, s);
        k += EDGEC_SCORES_STRIP * stride;
        k_scale += EDGEC_SCORES_STRIP * kv;
        s += EDGEC_SCORES_STRIP;
    }
    for (; count > 0; count--) {
        edgec_scores_strip(1, q, k, stride, d, scale, k_scale, kv, s);
        k += stride;
        k_scale += kv;
        s++;
    }
}

/* s[t] = float32(q . k[t]) * (exact * k_scale[t]) of all positions. k: [count][stride] of which [d] is read. */
static inline void edgec_scores_head(const int8_t *q, const int8_t *k, uint32_t stride, uint32_t d,
                                     float exact, const uint16_t *k_scale, uint32_t kv, float *s,
                                     uint32_t count) {
    const int fits = exact < 0x1p15f; /* or 2^112 is multiplied last, when the products are smaller */
    const float scale = fits ? exact * 0x1p112f : exact;
    if (d == EDGEC_BLOCK) {
        edgec_scores_short(q, k, stride, scale, k_scale, kv, s, s + count);
    } else {
        edgec_scores_long(q, k, stride, d, scale, k_scale, kv, s, count);
    }
    for (uint32_t t = fits ? count : 0; t < count; t++) {
        s[t] *= 0x1p112f;
    }
}

/* acc[0 .. width - 1] (+)= sum over t of p[t] * v[t]. p: [count]; v: [count][stride] of which [width] is
 * read. */
EDGEC_INLINE void edgec_values_strip(uint32_t width, const uint8_t *p, const int8_t *v, uint32_t stride,
                                     uint32_t count, int start, int32_t *acc) {
    int32_t sum[EDGEC_BLOCK];
    EDGEC_UNROLL_8
    for (uint32_t i = 0; i < width; i++) {
        sum[i] = start ? 0 : acc[i];
    }
    for (const uint8_t *end = p + count; p < end; p++, v += stride) {
        const int32_t weight = *p;
        if (weight == 0) { /* many are: 0 stands for all below 1/510 of the largest */
            continue;
        }
        EDGEC_UNROLL_8
        for (uint32_t i = 0; i < width; i++) {
            sum[i] += weight * v[i];
        }
    }
    EDGEC_UNROLL_8
    for (uint32_t i = 0; i < width; i++) {
        acc[i] = sum[i];
    }
}

/* acc[0 .. d - 1] (+)= sum over t of p[t] * v[t]. v: [count][stride] of which [d] is read. */
static inline void edgec_values_head(const uint8_t *p, const int8_t *v, uint32_t stride, uint32_t d,
                                     uint32_t count, int start, int32_t *acc) {
    uint32_t i = 0;
    for (; i + EDGEC_BLOCK <= d; i += EDGEC_BLOCK) {
        edgec_values_strip(EDGEC_BLOCK, p, v + i, stride, count, start, acc + i);
    }
    for (; i < d; i++) {
        edgec_values_strip(1, p, v + i, stride, count, start, acc + i);
    }
}

#endif
