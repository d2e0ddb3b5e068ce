#include "kv_append.h"

#include "edgec_kv.h"

void edgec_kv_quantize(const edgec_kv_quantize_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->rows, core, n_cores);
    const uint32_t k = a->k;
    for (uint32_t row = mine.begin; row < mine.end; row++) {
        const uint32_t head = row % a->heads;
        const float *x = a->x + (size_t)(row / a->heads) * a->ldx + head * k; /* [k] */
        int8_t *q = a->q + (size_t)row * k;                                   /* [k] */
        const float *shift = a->shift ? a->shift + (size_t)head * k : NULL;   /* [k] */
        a->scale[row] = edgec_kv_head(x, shift, q, k);
    }
}
