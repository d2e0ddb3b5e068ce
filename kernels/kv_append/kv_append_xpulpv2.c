/* The kernel of kv_append.h for cores with XpulpV2. */
#include "kv_append.h"

#include "edgec_kv_xpulpv2.h"

void edgec_kv_quantize(const edgec_kv_quantize_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_share(a->rows, core, n_cores);
    uint32_t token = 0, head = mine.begin;
    EDGEC_UNROLL_1
    for (; head >= a->heads; head -= a->heads) { /* few as a rule: shorter than a division */
        token++;
    }
    for (uint32_t row = mine.begin; row < mine.end; row++) {
        const uint32_t k = a->k;
        const float *x = a->x + (size_t)token * a->ldx + head * k;          /* [k] */
        const float *shift = a->shift ? a->shift + (size_t)head * k : NULL; /* [k] */
        a->scale[row] = edgec_kv_head(x, shift, a->q + (size_t)row * k, k);
        if (++head == a->heads) {
            head = 0;
            token++;
        }
    }
}
