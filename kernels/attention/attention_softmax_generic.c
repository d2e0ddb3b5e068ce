#include "attention.h"

#include "edgec_softmax.h"

void edgec_attention_softmax(const edgec_attention_softmax_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->m * a->n_heads, core, n_cores);
    const uint32_t kv = a->n_kv_heads;
    const uint32_t per_kv = a->n_heads / kv;
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t row = unit / a->n_heads;
        const uint32_t j = unit % a->n_heads / per_kv;
        const uint32_t length = a->pos + row + 1u;
        const uint32_t before = a->window && length > a->window ? length - a->window : 0u;
        const size_t at = (size_t)unit * a->lds;
        memset(a->p + at, 0, before);
        a->p_scale[unit] =
            edgec_softmax_of_row(a->s + at + before, a->p + at + before, a->v_scale + (size_t)before * kv + j,
                                 length - before, a->m - row - 1u, kv);
    }
}
