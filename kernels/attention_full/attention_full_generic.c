#include "attention_full.h"

#include "edgec_softmax.h"

void edgec_attention_softmax_full(const edgec_attention_softmax_full_args *a, uint32_t core,
                                  uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->m * a->n_heads, core, n_cores);
    const uint32_t per_kv = a->n_heads / a->n_kv_heads;
    const uint32_t length = (uint32_t)*a->length;
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t j = unit % a->n_heads / per_kv;
        const size_t at = (size_t)unit * a->lds;
        a->p_scale[unit] = edgec_softmax_of_row(a->s + at, a->p + at, a->v_scale + j, length,
                                                a->positions - length, a->n_kv_heads);
    }
}
