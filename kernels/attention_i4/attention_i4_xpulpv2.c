/* The kernels of attention_i4.h for cores with XpulpV2. */
#include "attention_i4.h"

#include "edgec_scores_xpulpv2.h"
#include "edgec_values_xpulpv2.h"

void edgec_attention_scores_i4(const edgec_attention_scores_i4_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t kv = a->n_kv_heads;
    const uint32_t d = a->head_dim;
    const uint32_t units = a->m * a->n_heads;
    const uint32_t parts = edgec_score_parts(units, n_cores);
    const uint32_t most = (a->count + parts - 1u) / parts; /* positions of a part */
    const edgec_range mine = edgec_share(units * parts, core, n_cores);
    for (uint32_t part = mine.begin; part < mine.end; part++) {
        const uint32_t unit = part / parts;
        const uint32_t j = unit % a->n_heads * kv / a->n_heads;
        const uint32_t first = edgec_p_minu((part - unit * parts) * most, a->count);
        const uint32_t count = edgec_p_minu(a->count - first, most);
        const edgec_keys keys = {a->k + ((size_t)first * kv + j) * (d / 2u),
                                 a->k_scale + (size_t)first * kv + j, kv * (d / 2u), d, kv};
        edgec_score_row(4, a->q + (size_t)unit * d, keys, a->q_scale[unit] * a->factor,
                        a->s + (size_t)unit * a->lds + a->first + first, count);
    }
}

/* acc[i] and acc[half + i] += sum over t of p[t] * (v[t] - 8), of the low and of the high halves of `width` bytes. p: [count];
 * v: [count][stride] of which [width] is read. */
EDGEC_INLINE void edgec_mix_bytes_i4(const uint8_t *p, const uint8_t *v, uint32_t stride, uint32_t width,
                                     uint32_t count, uint32_t half, int32_t *acc) {
    EDGEC_UNROLL_1
    for (uint32_t t = 0; t < count; t++) {
        const int32_t w = p[t];
        EDGEC_UNROLL_1
        for (uint32_t i = 0; i < width; i++) {
            acc[i] += w * ((v[i] & 15) - 8);
            acc[half + i] += w * ((v[i] >> 4) - 8);
        }
        v += stride;
    }
}

/* The same for 4 bytes, 4 positions at a time. */
EDGEC_INLINE void edgec_mix_word_i4(const uint8_t *p, const uint8_t *v, uint32_t stride, uint32_t count,
                                    uint32_t half, int32_t *acc) {
#if defined(EDGEC_XPULPV2)
    if (count >= 4u) {
        int32_t l0, l1, l2, l3, h0, h1, h2, h3; /* from 0: gcc takes 30 operands, and counts a "+r" as two */
        int32_t less; /* 8 times the sum of p: sum(p (u - 8)) = sum(p u) - 8 sum(p) */
        uint32_t w, r0, r1, r2, r3, x, y, high, upper, odd, mask, eights;
        /* Bytes of one element of both halves: r is used up, l and h are their sums. 5 instructions. */
        /* clang-format off */
#define EDGEC_MIX_I4(r, l, h)           \
    "and %[x], " r ", %[mask]\n\t"      \
    "srli " r ", " r ", 4\n\t"          \
    "and " r ", " r ", %[mask]\n\t"     \
    EDGEC_PV_SDOTUP_B(l, "%[w]", "%[x]") \
    EDGEC_PV_SDOTUP_B(h, "%[w]", r)
        __asm__ volatile(
            EDGEC_TRANSPOSE_MASKS
            "mv %[less], zero\n\t"
            "mv %[l0], zero\n\t"
            "mv %[l1], zero\n\t"
            "mv %[l2], zero\n\t"
            "mv %[l3], zero\n\t"
            "mv %[h0], zero\n\t"
            "mv %[h1], zero\n\t"
            "mv %[h2], zero\n\t"
            "mv %[h3], zero\n\t"
            "li %[mask], 0x0F0F0F0F\n\t"
            "li %[eights], 0x08080808\n\t"
            EDGEC_HWLOOP("0", "%[tiles]", "35",
                EDGEC_P_LW("%[w]", "4", "%[p]")
                EDGEC_TRANSPOSE
                EDGEC_PV_SDOTUP_B("%[less]", "%[w]", "%[eights]")
                EDGEC_MIX_I4("%[r0]", "%[l0]", "%[h0]")
                EDGEC_MIX_I4("%[y]", "%[l1]", "%[h1]")
                EDGEC_MIX_I4("%[r2]", "%[l2]", "%[h2]")
                EDGEC_MIX_I4("%[r3]", "%[l3]", "%[h3]"))
            : [p] "+r"(p), [v] "+r"(v), [l0] "=&r"(l0), [l1] "=&r"(l1), [l2] "=&r"(l2), [l3] "=&r"(l3),
              [h0] "=&r"(h0), [h1] "=&r"(h1), [h2] "=&r"(h2), [h3] "=&r"(h3), [w] "=&r"(w), [r0] "=&r"(r0),
              [r1] "=&r"(r1), [r2] "=&r"(r2), [r3] "=&r"(r3), [x] "=&r"(x), [y] "=&r"(y),
              [high] "=&r"(high), [upper] "=&r"(upper), [odd] "=&r"(odd), [mask] "=&r"(mask),
              [less] "=&r"(less), [eights] "=&r"(eights)
            : [tiles] "r"(count / 4u), [stride] "r"(stride)
            : "memory");
        /* clang-format on */
#undef EDGEC_MIX_I4
        acc[0] += l0 - less, acc[1] += l1 - less, acc[2] += l2 - less, acc[3] += l3 - less;
        acc[half] += h0 - less, acc[half + 1u] += h1 - less, acc[half + 2u] += h2 - less,
            acc[half + 3u] += h3 - less;
        count %= 4u;
    }
#endif
    edgec_mix_bytes_i4(p, v, stride, 4, count, half, acc);
}

void edgec_attention_values_i4(const edgec_attention_values_i4_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t kv = a->n_kv_heads;
    const uint32_t half = a->head_dim / 2u; /* bytes of a head */
    const uint32_t words = (half + 3u) / 4u;
    const edgec_range mine = edgec_share(a->m * a->n_heads * words, core, n_cores);
    uint32_t unit = mine.begin / words;
    uint32_t word = mine.begin - unit * words;
    for (uint32_t part = mine.begin; part < mine.end; part++) {
        const uint32_t j = unit % a->n_heads * kv / a->n_heads;
        const uint32_t i = word * 4u;
        const uint32_t width = edgec_p_minu(half - i, 4u);
        const uint8_t *p = a->p + (size_t)unit * a->lds + a->first; /* [count] */
        const uint8_t *v = a->v + (size_t)j * half + i;             /* [count][kv * half] */
        int32_t *acc = a->acc + (size_t)unit * a->head_dim + i;     /* [width], and behind half the same */
        if (a->first == 0) {
            for (uint32_t e = 0; e < width; e++) {
                acc[e] = 0;
                acc[half + e] = 0;
            }
        }
        if (width == 4u) {
            edgec_mix_word_i4(p, v, kv * half, a->count, half, acc);
        } else {
            edgec_mix_bytes_i4(p, v, kv * half, width, a->count, half, acc);
        }
        if (++word == words) {
            word = 0;
            unit++;
        }
    }
}
