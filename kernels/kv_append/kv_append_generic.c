#include "kv_append.h"

#include "edgec_math.h"

void edgec_kv_quantize(const edgec_kv_quantize_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->rows, core, n_cores);
    const uint32_t k = a->k;
    for (uint32_t row = mine.begin; row < mine.end; row++) {
        const uint32_t head = row % a->heads;
        const float *x = a->x + (size_t)(row / a->heads) * a->ldx + head * k; /* [k] */
        int8_t *q = a->q + (size_t)row * k;                                   /* [k] */
        const float *shift = a->shift ? a->shift + (size_t)head * k : NULL;   /* [k] */
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
        a->scale[row] = half;
    }
}
