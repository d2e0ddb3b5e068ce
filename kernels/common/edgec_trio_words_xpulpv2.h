/* y of three query heads with the same values, for cores with XpulpV2: words of four elements one after the other, from the
 * weights to the numbers that they end as. A tile of values is transposed once for all three.
 *
 * One asm block, which takes nearly every register: a word is some 75 instructions besides its tiles, where building a call for
 * each of them, and its end for each head, is three times as many.
 */
#ifndef EDGEC_TRIO_WORDS_XPULPV2_H
#define EDGEC_TRIO_WORDS_XPULPV2_H

#include "edgec_values_xpulpv2.h"

/* y[h] [4 * words] = float32(sum over t of p[h][t] * v[t]) * factor[h]. Over `tiles` whole tiles of 4 positions, and then,
 * if rest is not 0, over one more, whose values lie `move` bytes off from where the next ones would. Of fewer than 4
 * positions there is one tile, which has weights of 0 behind them: cores load what lies there. v, words and y are used
 * up. */
typedef struct {
    const uint8_t *p; /* of the first head */
    uint32_t lds;     /* bytes from head to head */
    const int8_t *v;  /* [..][stride] */
    uint32_t stride;
    uint32_t tiles; /* at least 1 */
    uint32_t rest;  /* 0 or 1 */
    int32_t move;
    uint32_t words; /* at least 1 */
    float *y[3];
    float factor[3];
    uint32_t again; /* rest of the word under way */
    uint32_t count; /* positions, where not all of a tile may be loaded */
} edgec_trio_words;

#if defined(EDGEC_PULP_FLOAT)

_Static_assert(offsetof(edgec_trio_words, stride) == 12 && offsetof(edgec_trio_words, move) == 24 &&
                   offsetof(edgec_trio_words, y) == 32 && offsetof(edgec_trio_words, factor) == 44 &&
                   offsetof(edgec_trio_words, again) == 56,
               "as the loop below reads them");

/* clang-format off */
#define T    EDGEC_ASM_T
#define GET  EDGEC_ASM_GET
#define PUT  EDGEC_ASM_PUT
#define ZERO EDGEC_ASM_ZERO
#define MIX  EDGEC_MIX
/* The end of a head's word: between float instructions others, as two cores share the unit that executes them. */
#define END(a, b, c, e, at_y, at_factor)            \
    "fcvt.s.w %[" #a "], %[" #a "]\n\t"             \
    GET(x, at_factor)                               \
    "fcvt.s.w %[" #b "], %[" #b "]\n\t"             \
    GET(r0, at_y)                                   \
    "fmul.s %[" #a "], %[" #a "], %[x]\n\t"         \
    "fcvt.s.w %[" #c "], %[" #c "]\n\t"             \
    EDGEC_P_SW("%[" #a "]", "4", "%[r0]")           \
    "fmul.s %[" #b "], %[" #b "], %[x]\n\t"         \
    "fcvt.s.w %[" #e "], %[" #e "]\n\t"             \
    EDGEC_P_SW("%[" #b "]", "4", "%[r0]")           \
    "fmul.s %[" #c "], %[" #c "], %[x]\n\t"         \
    EDGEC_P_SW("%[" #c "]", "4", "%[r0]")           \
    "fmul.s %[" #e "], %[" #e "], %[x]\n\t"         \
    EDGEC_P_SW("%[" #e "]", "4", "%[r0]")           \
    PUT(r0, at_y)

EDGEC_INLINE void edgec_mix_trio_words(edgec_trio_words *of) {
    uint32_t a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, r0, r1, r2, r3, x, y, high, upper, odd;
    uint32_t p, lds, back, v, stride;
    __asm__ volatile(
        GET(lds, "4") GET(stride, "12")
        EDGEC_TRANSPOSE_MASKS
        "slli %[back], %[lds], 1\n\tneg %[back], %[back]\n\taddi %[back], %[back], 4\n\t"
        "9:\n\t"
        GET(v, "8") GET(r1, "20") GET(p, "0") GET(x, "16")
        "addi %[r0], %[v], 4\n\t"
        PUT(r1, "56") PUT(r0, "8")
        ZERO(a0) ZERO(a1) ZERO(a2) ZERO(a3) ZERO(b0) ZERO(b1) ZERO(b2) ZERO(b3) ZERO(c0) ZERO(c1) ZERO(c2) ZERO(c3)
        ".balign 4\n8:\n\t"
        EDGEC_HWLOOP_INNER("0", "%[x]", "28",
            EDGEC_TRANSPOSE
            EDGEC_P_LW_R("%[x]", "%[lds]", "%[p]")
            EDGEC_P_LW_R("%[r1]", "%[lds]", "%[p]")
            MIX(x, a0, a1, a2, a3)
            EDGEC_P_LW_R("%[x]", "%[back]", "%[p]")
            MIX(r1, b0, b1, b2, b3) MIX(x, c0, c1, c2, c3))
        GET(x, "56") GET(r1, "24")
        "sw zero, 56 + %[of]\n\t"
        "add %[v], %[v], %[r1]\n\t"
        "bnez %[x], 8b\n\t"
        END(a0, a1, a2, a3, "32", "44") END(b0, b1, b2, b3, "36", "48") END(c0, c1, c2, c3, "40", "52")
        GET(x, "28")
        "addi %[x], %[x], -1\n\t"
        PUT(x, "28")
        "bnez %[x], 9b\n\t"
        : T(a0), T(a1), T(a2), T(a3), T(b0), T(b1), T(b2), T(b3), T(c0), T(c1), T(c2), T(c3), T(r0), T(r1),
          T(r2), T(r3), T(x), T(y), T(high), T(upper), T(odd), T(p), T(lds), T(back), T(v), T(stride), [of] "+m"(*of)
        :
        : "memory");
}
/* clang-format on */

#undef T
#undef GET
#undef PUT
#undef ZERO
#undef MIX
#undef END

#else

EDGEC_INLINE void edgec_mix_trio_words(edgec_trio_words *of) {
    for (uint32_t i = 0; i < 3u * of->words; i++) {
        const uint32_t h = i % 3u;
        const uint8_t *p = of->p + h * of->lds;
        const int8_t *v = of->v + i / 3u * 4u;
        const int8_t *last = v + (int32_t)(4u * of->tiles * of->stride) + of->move;
        edgec_mixed sum = edgec_mix_four(p, v, of->stride, edgec_p_minu(4u * of->tiles, of->count),
                                         (edgec_mixed){0, 0, 0, 0});
        sum = edgec_mix_four(p + 4u * of->tiles, last, of->stride, 4u * of->rest, sum);
        float *y = of->y[h] + i / 3u * 4u;
        y[0] = (float)sum.a0 * of->factor[h];
        y[1] = (float)sum.a1 * of->factor[h];
        y[2] = (float)sum.a2 * of->factor[h];
        y[3] = (float)sum.a3 * of->factor[h];
    }
}

#endif

#endif
