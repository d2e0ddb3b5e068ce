/* The softmax of attention.h for cores with XpulpV2. */
#include "attention.h"

#include "edgec_softmax_xpulpv2.h"

void edgec_attention_softmax(const edgec_attention_softmax_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_share(a->m * a->n_heads, core, n_cores);
    const uint32_t kv = a->n_kv_heads;
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t row = unit / a->n_heads;
        const uint32_t j = unit % a->n_heads * kv / a->n_heads;
        float *s = a->s + (size_t)unit * a->lds;   /* [pos + row + 1] */
        uint8_t *p = a->p + (size_t)unit * a->lds; /* [pos + m] */
        const uint16_t *v_scale = a->v_scale + j;  /* [pos + row + 1][kv] */
        uint32_t length = a->pos + row + 1u;       /* that the row sees */
        EDGEC_UNROLL_1
        for (; EDGEC_SELDOM(a->window != 0 && length > a->window); length--) {
            *p++ = 0;
            s++;
            v_scale += kv;
        }
        float top = *s;
        EDGEC_UNROLL_4
        for (uint32_t t = 1; t < length; t++) {
            top = edgec_max(top, s[t]);
        }
        const uint32_t most = edgec_most_scale(v_scale, kv, length, 0);
        a->p_scale[unit] = edgec_softmax_row(s, p, v_scale, kv, length, a->m - row - 1u, top, most);
    }
}
