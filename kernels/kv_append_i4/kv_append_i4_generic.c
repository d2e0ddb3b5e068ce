#include "kv_append_i4.h"

#include "edgec_math.h"

#define EDGEC_ONE_7TH 0x1.24924ap-3f /* float32(1/7) */

EDGEC_INLINE uint32_t edgec_code_i4(float x, float inverse) {
    return (uint32_t)(edgec_rint_i32(edgec_min(edgec_max(x * inverse, -7.0f), 7.0f)) + 8);
}

void edgec_kv_quantize_i4(const edgec_kv_quantize_i4_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->rows, core, n_cores);
    const uint32_t k = a->k;
    const uint32_t half_k = k / 2u;
    for (uint32_t row = mine.begin; row < mine.end; row++) {
        const uint32_t head = row % a->heads;
        const float *x = a->x + (size_t)(row / a->heads) * a->ldx + head * k; /* [k] */
        uint8_t *q = a->q + (size_t)row * half_k;                             /* [k / 2] */
        const float *shift = a->shift ? a->shift + (size_t)head * k : NULL;   /* [k] */
        float top = 0.0f;
        EDGEC_UNROLL_4
        for (uint32_t i = 0; i < k; i++) {
            top = edgec_max(edgec_abs(edgec_shifted(x, shift, i)), top);
        }
        const uint16_t half = edgec_f16_from_f32(top * EDGEC_ONE_7TH);
        const float scale = edgec_f16_to_f32(half);
        const float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
        EDGEC_UNROLL_4
        for (uint32_t i = 0; i < half_k; i++) {
            q[i] = (uint8_t)(edgec_code_i4(edgec_shifted(x, shift, i), inverse) |
                             edgec_code_i4(edgec_shifted(x, shift, half_k + i), inverse) << 4);
        }
        a->scale[row] = half;
    }
}
