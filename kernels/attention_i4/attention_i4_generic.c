#include "attention_i4.h"

#include "edgec_math.h"

/* Positions whose scores are computed together, so that one load of q serves them all. */
#define EDGEC_SCORES_STRIP 4u
/* Bytes of a head, of two elements each, whose accumulators stay in registers while the positions pass. */
#define EDGEC_VALUES_STRIP 4u

/* s[t] of `rows` neighbouring positions. q: [2 * bytes]; k: [rows][stride] of which [bytes] is read; k_scale:
 * [rows][kv]; eight_q: 8 times the sum of q. */
EDGEC_INLINE void edgec_scores_i4_strip(uint32_t rows, const int8_t *q, const uint8_t *k, uint32_t stride,
                                        uint32_t bytes, int32_t eight_q, float scale, const uint16_t *k_scale,
                                        uint32_t kv, float *s) {
    int32_t acc[EDGEC_SCORES_STRIP] = {0};
    EDGEC_UNROLL_4
    for (uint32_t i = 0; i < bytes; i++) {
        const int32_t low = q[i];
        const int32_t high = q[bytes + i];
        EDGEC_UNROLL_4
        for (uint32_t r = 0; r < rows; r++) {
            const uint32_t pair = k[r * stride + i];
            acc[r] += (int32_t)(pair & 15u) * low + (int32_t)(pair >> 4) * high;
        }
    }
    EDGEC_UNROLL_4
    for (uint32_t r = 0; r < rows; r++) {
        s[r] = (float)(acc[r] - eight_q) * (scale * edgec_f16_to_f32(k_scale[r * kv]));
    }
}

void edgec_attention_scores_i4(const edgec_attention_scores_i4_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->m * a->n_heads, core, n_cores);
    const uint32_t kv = a->n_kv_heads;
    const uint32_t bytes = a->head_dim / 2u;
    const uint32_t stride = kv * bytes; /* from one position to the next */
    const uint32_t per_kv = a->n_heads / kv;
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t j = unit % a->n_heads / per_kv;
        const int8_t *q = a->q + (size_t)unit * a->head_dim; /* [head_dim] */
        float *s = a->s + (size_t)unit * a->lds + a->first;  /* [count] */
        const uint8_t *k = a->k + (size_t)j * bytes;         /* [count][stride] */
        const uint16_t *k_scale = a->k_scale + j;            /* [count][kv] */
        const float scale = a->q_scale[unit] * a->factor;
        int32_t eight_q = 0;
        for (uint32_t i = 0; i < a->head_dim; i++) {
            eight_q += 8 * q[i];
        }
        uint32_t t = 0;
        for (; t + EDGEC_SCORES_STRIP <= a->count; t += EDGEC_SCORES_STRIP) {
            edgec_scores_i4_strip(EDGEC_SCORES_STRIP, q, k, stride, bytes, eight_q, scale, k_scale, kv,
                                  s + t);
            k += EDGEC_SCORES_STRIP * stride;
            k_scale += EDGEC_SCORES_STRIP * kv;
        }
        for (; t < a->count; t++) {
            edgec_scores_i4_strip(1, q, k, stride, bytes, eight_q, scale, k_scale, kv, s + t);
            k += stride;
            k_scale += kv;
        }
    }
}

/* acc[i] and acc[half + i] (+)= sum over t of p[t] * (v[t][i] - 8), i < width. p: [count]; v: [count][stride] of which
 * [width] is read; eight_p: 8 times the sum of p. */
EDGEC_INLINE void edgec_values_i4_strip(uint32_t width, const uint8_t *p, const uint8_t *v, uint32_t stride,
                                        uint32_t count, int start, int32_t eight_p, uint32_t half,
                                        int32_t *acc) {
    int32_t low[EDGEC_VALUES_STRIP];
    int32_t high[EDGEC_VALUES_STRIP];
    EDGEC_UNROLL_4
    for (uint32_t i = 0; i < width; i++) {
        low[i] = (start ? 0 : acc[i]) - eight_p;
        high[i] = (start ? 0 : acc[half + i]) - eight_p;
    }
    for (uint32_t t = 0; t < count; t++) {
        const int32_t weight = p[t];
        EDGEC_UNROLL_4
        for (uint32_t i = 0; i < width; i++) {
            low[i] += weight * (int32_t)(v[i] & 15u);
            high[i] += weight * (int32_t)(v[i] >> 4);
        }
        v += stride;
    }
    EDGEC_UNROLL_4
    for (uint32_t i = 0; i < width; i++) {
        acc[i] = low[i];
        acc[half + i] = high[i];
    }
}

void edgec_attention_values_i4(const edgec_attention_values_i4_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->m * a->n_heads, core, n_cores);
    const uint32_t bytes = a->head_dim / 2u;
    const uint32_t stride = a->n_kv_heads * bytes; /* from one position to the next */
    const uint32_t per_kv = a->n_heads / a->n_kv_heads;
    const int start = a->first == 0;
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t j = unit % a->n_heads / per_kv;
        const uint8_t *p = a->p + (size_t)unit * a->lds + a->first; /* [count] */
        const uint8_t *v = a->v + (size_t)j * bytes;                /* [count][stride] */
        int32_t *acc = a->acc + (size_t)unit * a->head_dim;         /* [head_dim] */
        int32_t eight_p = 0;
        for (uint32_t t = 0; t < a->count; t++) {
            eight_p += 8 * p[t];
        }
        uint32_t i = 0;
        for (; i + EDGEC_VALUES_STRIP <= bytes; i += EDGEC_VALUES_STRIP) {
            edgec_values_i4_strip(EDGEC_VALUES_STRIP, p, v + i, stride, a->count, start, eight_p, bytes,
                                  acc + i);
        }
        for (; i < bytes; i++) {
            edgec_values_i4_strip(1, p, v + i, stride, a->count, start, eight_p, bytes, acc + i);
        }
    }
}
