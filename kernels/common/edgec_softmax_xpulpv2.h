/* The softmax of attention.h for one row and head, for cores with XpulpV2. */
#ifndef EDGEC_SOFTMAX_XPULPV2_H
#define EDGEC_SOFTMAX_XPULPV2_H

#include "edgec_kv_xpulpv2.h"
#include "edgec_softmax.h"

#if defined(EDGEC_PULP_FLOAT)
extern const uint8_t
    hal_exp2_down[EDGEC_EXP2_BYTES]; /* edgec_exp2_bytes from its end on, in L1, from the HAL */
#endif

/* The larger of the largest scale and `most`, both as their bits. v_scale: [count][kv] of which one column is read */
EDGEC_INLINE uint32_t edgec_most_scale(const uint16_t *v_scale, uint32_t kv, uint32_t count, uint32_t most) {
#if defined(EDGEC_PULP_FLOAT)
    if (!EDGEC_SELDOM(count < 2u)) {
        uint32_t a, b;
        /* clang-format off */
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[pairs]", "4",
                EDGEC_P_LHU_R("%[a]", "%[step]", "%[v]")
                EDGEC_P_LHU_R("%[b]", "%[step]", "%[v]")
                EDGEC_P_MAXU("%[most]", "%[most]", "%[a]")
                EDGEC_P_MAXU("%[most]", "%[most]", "%[b]"))
            : [v] "+r"(v_scale), [most] "+r"(most), [a] "=&r"(a), [b] "=&r"(b)
            : [pairs] "r"(count / 2u), [step] "r"(2u * kv)
            : "memory");
        /* clang-format on */
        count %= 2u;
    }
#endif
    EDGEC_UNROLL_1
    for (; count > 0; count--) {
        most = edgec_p_maxu(most, *v_scale);
        v_scale += kv;
    }
    return most;
}

/* The largest scales of two neighbouring heads: halves of a word, the first head's the lower one. v_scale: [count][kv] of
 * which two columns are read */
EDGEC_INLINE uint32_t edgec_most_scales(const uint16_t *v_scale, uint32_t kv, uint32_t count) {
    uint32_t most = 0;
#if defined(EDGEC_PULP_FLOAT)
    if (!EDGEC_SELDOM(count < 2u)) {
        uint32_t a, b;
        /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[pairs]", "4",
            EDGEC_P_LW_R("%[a]", "%[step]", "%[v]")
            EDGEC_P_LW_R("%[b]", "%[step]", "%[v]")
            EDGEC_PV_MAX_H("%[most]", "%[most]", "%[a]") /* none is negative */
            EDGEC_PV_MAX_H("%[most]", "%[most]", "%[b]"))
        : [v] "+r"(v_scale), [most] "+r"(most), [a] "=&r"(a), [b] "=&r"(b)
        : [pairs] "r"(count / 2u), [step] "r"(2u * kv)
        : "memory");
        /* clang-format on */
        count %= 2u;
    }
#endif
    EDGEC_UNROLL_1
    for (; count > 0; count--) {
        most = edgec_p_maxu(most & 0xFFFFu, v_scale[0]) | edgec_p_maxu(most >> 16, v_scale[1]) << 16;
        v_scale += kv;
    }
    return most;
}

/* (1 / most) * EDGEC_RATIO_UP of a scale; 0 of 0. */
EDGEC_INLINE float edgec_ratio_of(float most) {
    return edgec_bits(most) ? edgec_reciprocal(most) * EDGEC_RATIO_UP : 0.0f;
}

/* The largest score as it is for what follows: 0 where it lies so far out that all scores are taken relative to it. */
EDGEC_INLINE float edgec_near(float *s, uint32_t length, float top) {
    if (EDGEC_SELDOM(edgec_abs(top) > EDGEC_EXP2_FARTHEST)) {
        EDGEC_UNROLL_1
        for (uint32_t t = 0; t < length; t++) {
            s[t] -= top;
        }
        return 0.0f;
    }
    return top;
}

#if !defined(EDGEC_PULP_FLOAT)
/* e of a score; base: EDGEC_EXP2_MAGIC less the largest one. */
EDGEC_INLINE uint32_t edgec_exp2_byte(float s, float base) {
    const int32_t index = edgec_p_max(edgec_exp2_index(s, base), EDGEC_EXP2_LOWEST);
    return edgec_exp2_bytes[edgec_p_min(index, EDGEC_EXP2_MAGIC_BITS) - EDGEC_EXP2_LOWEST];
}
#endif

/* p[t], for the largest score `top`; returns the sum of e. s, p: [length]; v_scale: [length][kv], of whose largest one
 * `ratio` is. s is used up. */
EDGEC_INLINE uint32_t edgec_weigh_row(float *s, uint8_t *p, const uint16_t *v_scale, uint32_t kv,
                                      uint32_t length, float top, float ratio) {
    uint32_t total = 0;
    top = edgec_near(s, length, top);
#if defined(EDGEC_PULP_FLOAT)
    /* The magic number plus (top - s), which rounds as (s - top) does, grows from the end of the table down. So one
     * minimum brings it into the table, also of a score that is no number. */
    const float base = EDGEC_EXP2_MAGIC + top;
    uint32_t x, h;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[length]", "11",
            EDGEC_P_LW("%[x]", "4", "%[s]")
            EDGEC_P_LHU_R("%[h]", "%[step]", "%[v]")
            "fsub.s %[x], %[base], %[x]\n\t"
            "slli %[h], %[h], 13\n\t"
            EDGEC_P_MINU("%[x]", "%[x]", "%[last]")
            "fmul.s %[h], %[h], %[ratio]\n\t"
            EDGEC_P_LBU_RR("%[x]", "%[x]", "%[table]")
            "fadd.s %[h], %[h], %[magic]\n\t"
            "add %[total], %[total], %[x]\n\t"
            EDGEC_P_MULURN("%[x]", "%[x]", "%[h]", "15")
            EDGEC_P_SB("%[x]", "1", "%[p]"))
        : [s] "+r"(s), [p] "+r"(p), [v] "+r"(v_scale), [total] "+r"(total), [x] "=&r"(x), [h] "=&r"(h)
        : [length] "r"(length), [step] "r"(2u * kv), [base] "r"(base), [ratio] "r"(ratio),
          [magic] "r"(EDGEC_RATIO_MAGIC), [last] "r"(EDGEC_EXP2_MAGIC_BITS + EDGEC_EXP2_BYTES - 1u),
          [table] "r"((uintptr_t)hal_exp2_down - EDGEC_EXP2_MAGIC_BITS)
        : "memory");
    /* clang-format on */
#else
    const float base = EDGEC_EXP2_MAGIC - top;
    for (; length > 0; length--) {
        const uint32_t e = edgec_exp2_byte(*s++, base);
        total += e;
        *p++ = (uint8_t)edgec_probability(e, edgec_ratio(*v_scale, ratio));
        v_scale += kv;
    }
#endif
    return total;
}

/* The factor of p . v: most is the largest scale, total the sum of e. */
EDGEC_INLINE float edgec_values_factor(float most, float total) {
    return (most * edgec_quotient(255.0f, total)) * EDGEC_ONE_255TH;
}

/* One row and head whose largest score is `top` and largest scale `largest`, its bits. s: [length]; p: [length + hidden];
 * v_scale: [length][kv]. Returns the factor of p . v. */
EDGEC_INLINE float edgec_softmax_row(float *s, uint8_t *p, const uint16_t *v_scale, uint32_t kv,
                                     uint32_t length, uint32_t hidden, float top, uint32_t largest) {
    const float most = edgec_f16_to_f32((uint16_t)largest);
    const uint32_t total = edgec_weigh_row(s, p, v_scale, kv, length, top, edgec_ratio_of(most));
    EDGEC_UNROLL_1
    for (p += length; EDGEC_SELDOM(hidden > 0); hidden--) {
        *p++ = 0;
    }
    return edgec_values_factor(most, (float)(int32_t)total);
}

#endif
