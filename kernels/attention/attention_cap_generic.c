#include "attention.h"

#include "edgec_math.h"

void edgec_attention_cap(const edgec_attention_cap_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->m * a->n_heads, core, n_cores);
    const float slope = 2.0f / a->cap;
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t length = a->pos + unit / a->n_heads + 1u;
        const uint32_t before = a->window && length > a->window ? length - a->window : 0u;
        float *s = a->s + (size_t)unit * a->lds; /* [length] */
        EDGEC_UNROLL_1
        for (uint32_t t = before; t < length; t++) {
            s[t] = edgec_capped(s[t], a->cap, slope);
        }
    }
}
