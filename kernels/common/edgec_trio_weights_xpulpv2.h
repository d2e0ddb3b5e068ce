/* Weights of the softmax of attention.h for three query heads with the same values, for cores with XpulpV2: r of a position is
 * computed once. Instructions for a weight of one head and of three: 11 and 8.33.
 */
#ifndef EDGEC_TRIO_WEIGHTS_XPULPV2_H
#define EDGEC_TRIO_WEIGHTS_XPULPV2_H

#include "edgec_softmax_xpulpv2.h"

/* edgec_weigh_row of three heads: s, p [3][lds] of which [length] is read and written; top [3], the largest scores; the sums
 * of e go to total [3]. */
EDGEC_INLINE void edgec_weigh_trio(float *s, uint8_t *p, uint32_t lds, const uint16_t *v_scale, uint32_t kv,
                                   uint32_t length, const float *top, float ratio, uint32_t *total) {
#if defined(EDGEC_PULP_FLOAT)
    const float base0 = EDGEC_EXP2_MAGIC + edgec_near(s, length, top[0]); /* as in edgec_weigh_row */
    const float base1 = EDGEC_EXP2_MAGIC + edgec_near(s + lds, length, top[1]);
    const float base2 = EDGEC_EXP2_MAGIC + edgec_near(s + 2u * lds, length, top[2]);
    uint8_t *p1 = p + lds, *p2 = p + 2u * lds;
    uint32_t x, y, z, h, a, b, c; /* sums from 0: gcc takes 30 operands, and counts a "+r" as two */
    /* clang-format off */
    __asm__ volatile(
        "mv %[a], zero\n\t"
        "mv %[b], zero\n\t"
        "mv %[c], zero\n\t"
        EDGEC_HWLOOP("0", "%[length]", "25",
            EDGEC_P_LHU_R("%[h]", "%[step]", "%[v]")
            EDGEC_P_LW_R("%[x]", "%[next]", "%[s]")
            EDGEC_P_LW_R("%[y]", "%[next]", "%[s]")
            "fsub.s %[x], %[base0], %[x]\n\t"
            EDGEC_P_LW_R("%[z]", "%[back]", "%[s]")
            "slli %[h], %[h], 13\n\t"
            "fsub.s %[y], %[base1], %[y]\n\t"
            EDGEC_P_MINU("%[x]", "%[x]", "%[last]")
            "fmul.s %[h], %[h], %[ratio]\n\t"
            EDGEC_P_LBU_RR("%[x]", "%[x]", "%[table]")
            "fsub.s %[z], %[base2], %[z]\n\t"
            EDGEC_P_MINU("%[y]", "%[y]", "%[last]")
            "fadd.s %[h], %[h], %[magic]\n\t"
            EDGEC_P_LBU_RR("%[y]", "%[y]", "%[table]")
            EDGEC_P_MINU("%[z]", "%[z]", "%[last]")
            "add %[a], %[a], %[x]\n\t"
            EDGEC_P_LBU_RR("%[z]", "%[z]", "%[table]")
            EDGEC_P_MULURN("%[x]", "%[x]", "%[h]", "15")
            "add %[b], %[b], %[y]\n\t"
            EDGEC_P_MULURN("%[y]", "%[y]", "%[h]", "15")
            EDGEC_P_SB("%[x]", "1", "%[p]")
            "add %[c], %[c], %[z]\n\t"
            EDGEC_P_SB("%[y]", "1", "%[p1]")
            EDGEC_P_MULURN("%[z]", "%[z]", "%[h]", "15")
            EDGEC_P_SB("%[z]", "1", "%[p2]"))
        : [s] "+r"(s), [v] "+r"(v_scale), [p] "+r"(p), [p1] "+r"(p1), [p2] "+r"(p2), [x] "=&r"(x), [y] "=&r"(y),
          [z] "=&r"(z), [h] "=&r"(h), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c)
        : [length] "r"(length), [step] "r"(2u * kv), [next] "r"(4u * lds), [back] "r"(4u - 8u * lds),
          [base0] "r"(base0), [base1] "r"(base1), [base2] "r"(base2), [ratio] "r"(ratio),
          [magic] "r"(EDGEC_RATIO_MAGIC), [last] "r"(EDGEC_EXP2_MAGIC_BITS + EDGEC_EXP2_BYTES - 1u),
          [table] "r"((uintptr_t)hal_exp2_down - EDGEC_EXP2_MAGIC_BITS)
        : "memory");
    /* clang-format on */
    total[0] = a, total[1] = b, total[2] = c;
#else
    for (uint32_t h = 0; h < 3u; h++) {
        total[h] = edgec_weigh_row(s + h * lds, p + h * lds, v_scale, kv, length, top[h], ratio);
    }
#endif
}

#endif
