#include "rope_append.h"

#include "edgec_fork.h"
#include "edgec_kv.h"
#include "edgec_rows.h"

static void edgec_rope_append_heads(const void *args, uint32_t core, uint32_t n_cores) {
    const edgec_rope_append_args *a = args;
    const uint32_t d = a->head_dim, half = d / 2u, heads = a->n_heads, kv = a->n_kv_heads;
    const uint32_t all = heads + 2u * kv; /* heads of a row of x */
    const edgec_range mine = edgec_split(a->m * all, core, n_cores);
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t row = unit / all, head = unit % all;
        float *x = a->x + (size_t)unit * d; /* [head_dim] */
        if (head < heads + kv) {
            const int16_t *table = a->table + (size_t)row * d; /* [head_dim] */
            for (uint32_t i = 0; i < half; i++) {
                const float c = (float)table[i] * a->unit;
                const float s = (float)table[half + i] * a->unit;
                const float low = x[i], high = x[half + i];
                x[i] = low * c - high * s;
                x[half + i] = high * c + low * s;
            }
        }
        if (head >= heads + kv) {
            const size_t at = (size_t)row * kv + head - heads - kv;
            a->v_scale[at] = edgec_quantize_head(x, NULL, a->v_q + at * d, d);
        } else if (head >= heads) {
            const size_t at = (size_t)row * kv + head - heads;
            const float *shift = a->shift ? a->shift + (size_t)(head - heads) * d : NULL; /* [head_dim] */
            a->k_scale[at] = edgec_quantize_head(x, shift, a->k_q + at * d, d);
        } else {
            const size_t at = (size_t)row * heads + head;
            int32_t sum;
            a->q_scale[at] = edgec_quantize_group(x, a->q + at * d, d, &sum);
        }
    }
}

void edgec_rope_append(const edgec_rope_append_args *a, uint32_t core, uint32_t n_cores) {
    (void)core;
    (void)n_cores;
    hal_fork(edgec_rope_append_heads, a);
}
