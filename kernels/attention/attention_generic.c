#include "attention.h"

#include "edgec_math.h"

/* Positions whose scores are computed together, so that one load of q serves them all. */
#define EDGEC_SCORES_STRIP 4u
/* Elements of a head whose accumulators stay in registers while the positions pass. */
#define EDGEC_VALUES_STRIP 8u

/* s[t] of `rows` neighbouring positions. q: [d]; k: [rows][stride] of which [d] is read; k_scale: [rows][kv].
 */
EDGEC_INLINE void edgec_scores_strip(uint32_t rows, const int8_t *q, const int8_t *k, uint32_t stride,
                                     uint32_t d, float scale, const uint16_t *k_scale, uint32_t kv,
                                     float *s) {
    int32_t acc[EDGEC_SCORES_STRIP] = {0};
    EDGEC_UNROLL_4
    for (uint32_t i = 0; i < d; i++) {
        const int32_t value = q[i];
        EDGEC_UNROLL_4
        for (uint32_t r = 0; r < rows; r++) {
            acc[r] += k[r * stride + i] * value;
        }
    }
    EDGEC_UNROLL_4
    for (uint32_t r = 0; r < rows; r++) {
        s[r] = (float)acc[r] * (scale * edgec_f16_to_f32(k_scale[r * kv]));
    }
}

void edgec_attention_scores(const edgec_attention_scores_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->m * a->n_heads, core, n_cores);
    const uint32_t kv = a->n_kv_heads;
    const uint32_t d = a->head_dim;
    const uint32_t stride = kv * d; /* from one position to the next */
    const uint32_t per_kv = a->n_heads / kv;
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t j = unit % a->n_heads / per_kv;
        const int8_t *q = a->q + (size_t)unit * d;          /* [head_dim] */
        float *s = a->s + (size_t)unit * a->lds + a->first; /* [count] */
        const int8_t *k = a->k + (size_t)j * d;             /* [count][stride] */
        const uint16_t *k_scale = a->k_scale + j;           /* [count][kv] */
        const float scale = a->q_scale[unit] * a->factor;
        uint32_t t = 0;
        for (; t + EDGEC_SCORES_STRIP <= a->count; t += EDGEC_SCORES_STRIP) {
            edgec_scores_strip(EDGEC_SCORES_STRIP, q, k, stride, d, scale, k_scale, kv, s + t);
            k += EDGEC_SCORES_STRIP * stride;
            k_scale += EDGEC_SCORES_STRIP * kv;
        }
        for (; t < a->count; t++) {
            edgec_scores_strip(1, q, k, stride, d, scale, k_scale, kv, s + t);
            k += stride;
            k_scale += kv;
        }
    }
}

/* acc[0 .. width - 1] (+)= sum over t of p[t] * v[t]. p: [count]; v: [count][stride] of which [width] is
 * read. */
EDGEC_INLINE void edgec_values_strip(uint32_t width, const uint8_t *p, const int8_t *v, uint32_t stride,
                                     uint32_t count, int start, int32_t *acc) {
    int32_t sum[EDGEC_VALUES_STRIP];
    EDGEC_UNROLL_8
    for (uint32_t i = 0; i < width; i++) {
        sum[i] = start ? 0 : acc[i];
    }
    for (uint32_t t = 0; t < count; t++) {
        const int32_t weight = p[t];
        EDGEC_UNROLL_8
        for (uint32_t i = 0; i < width; i++) {
            sum[i] += weight * v[i];
        }
        v += stride;
    }
    EDGEC_UNROLL_8
    for (uint32_t i = 0; i < width; i++) {
        acc[i] = sum[i];
    }
}

void edgec_attention_values(const edgec_attention_values_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->m * a->n_heads, core, n_cores);
    const uint32_t d = a->head_dim;
    const uint32_t stride = a->n_kv_heads * d; /* from one position to the next */
    const uint32_t per_kv = a->n_heads / a->n_kv_heads;
    const int start = a->first == 0;
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t j = unit % a->n_heads / per_kv;
        const uint8_t *p = a->p + (size_t)unit * a->lds + a->first; /* [count] */
        const int8_t *v = a->v + (size_t)j * d;                     /* [count][stride] */
        int32_t *acc = a->acc + (size_t)unit * d;                   /* [head_dim] */
        uint32_t i = 0;
        for (; i + EDGEC_VALUES_STRIP <= d; i += EDGEC_VALUES_STRIP) {
            edgec_values_strip(EDGEC_VALUES_STRIP, p, v + i, stride, a->count, start, acc + i);
        }
        for (; i < d; i++) {
            edgec_values_strip(1, p, v + i, stride, a->count, start, acc + i);
        }
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
