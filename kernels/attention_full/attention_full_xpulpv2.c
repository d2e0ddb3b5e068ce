/* The kernel of attention_full.h for cores with XpulpV2. */
#include "attention_full.h"

#include "edgec_softmax_xpulpv2.h"

void edgec_attention_softmax_full(const edgec_attention_softmax_full_args *a, uint32_t core,
                                  uint32_t n_cores) {
    const edgec_range mine = edgec_share(a->m * a->n_heads, core, n_cores);
    const uint32_t kv = a->n_kv_heads;
    const uint32_t length = (uint32_t)*a->length;
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t j = unit % a->n_heads * kv / a->n_heads;
        float *s = a->s + (size_t)unit * a->lds;   /* [length] */
        uint8_t *p = a->p + (size_t)unit * a->lds; /* [positions] */
        float top = *s;
        EDGEC_UNROLL_4
        for (uint32_t t = 1; t < length; t++) {
            top = edgec_max(top, s[t]);
        }
        const uint32_t most = edgec_most_scale(a->v_scale + j, kv, length, 0);
        a->p_scale[unit] =
            edgec_softmax_row(s, p, a->v_scale + j, kv, length, a->positions - length, top, most);
    }
}
