/* A head of keys or values as kv_append.h quantises it, in plain C. */
#ifndef EDGEC_KV_H
#define EDGEC_KV_H

#include "edgec_kernel.h"
#include "edgec_math.h"

/* x [k], less shift [k] unless that is NULL, to q [k]; returns the binary16 scale. */
static inline uint16_t edgec_kv_head(const float *x, const float *shift, int8_t *q, uint32_t k) {
    float top = 0.0f;
    EDGEC_UNROLL_4
    for (uint32_t i = 0; i < k; i++) {
        top = edgec_max(edgec_abs(edgec_shifted(x, shift, i)), top);
    }
    const uint16_t half = edgec_f16_from_f32(top * EDGEC_ONE_127TH);
    const float scale = edgec_f16_to_f32(half);
    const float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
    EDGEC_UNROLL_4
    for (uint32_t i = 0; i < k; i++) {
        q[i] = (int8_t)edgec_rint_i32(
            edgec_min(edgec_max(edgec_shifted(x, shift, i) * inverse, -127.0f), 127.0f));
    }
    return half;
}

#endif
