/* The softmax of attention.h for one row and head, for cores with XpulpV2. */
#ifndef EDGEC_SOFTMAX_XPULPV2_H
#define EDGEC_SOFTMAX_XPULPV2_H

#include "edgec_rows_xpulpv2.h"

#if defined(EDGEC_PULP_FLOAT)
extern const uint8_t
    hal_exp2_down[EDGEC_EXP2_BYTES]; /* edgec_exp2_bytes from its end on, in L1, from the HAL */
#endif

/* s[t] to w[t] * 2^-112, for the largest score `top`; returns the largest weight and adds to *total, the sum of e. */
EDGEC_INLINE float edgec_weigh_row(float *s, const uint16_t *v_scale, uint32_t kv, uint32_t length, float top,
                                   uint32_t *total) {
    float most = 0.0f;
    if (EDGEC_SELDOM(edgec_abs(top) > EDGEC_EXP2_FARTHEST)) {
        EDGEC_UNROLL_1
        for (uint32_t t = 0; t < length; t++) {
            s[t] -= top;
        }
        top = 0.0f;
    }
#if defined(EDGEC_PULP_FLOAT)
    /* The magic number plus (top - s), which rounds as (s - top) does, grows from the end of the table down. So one
     * minimum brings it into the table, also of a score that is no number. */
    const float base = EDGEC_EXP2_MAGIC + top;
    uint32_t x, h, e;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[length]", "11",
            "lw %[x], 0(%[s])\n\t"
            EDGEC_P_LHU_R("%[h]", "%[step]", "%[v]")
            "fsub.s %[x], %[base], %[x]\n\t"
            EDGEC_P_MINU("%[x]", "%[x]", "%[last]")
            EDGEC_P_LBU_RR("%[e]", "%[x]", "%[table]")
            "slli %[h], %[h], 13\n\t"
            "fcvt.s.w %[x], %[e]\n\t"
            "add %[total], %[total], %[e]\n\t"
            "fmul.s %[h], %[h], %[x]\n\t"
            EDGEC_P_MAX("%[most]", "%[most]", "%[h]")
            EDGEC_P_SW("%[h]", "4", "%[s]"))
        : [s] "+r"(s), [v] "+r"(v_scale), [total] "+r"(*total), [most] "+r"(most), [x] "=&r"(x),
          [h] "=&r"(h), [e] "=&r"(e)
        : [length] "r"(length), [step] "r"(2u * kv), [base] "r"(base),
          [last] "r"(EDGEC_EXP2_MAGIC_BITS + EDGEC_EXP2_BYTES - 1u),
          [table] "r"((uintptr_t)hal_exp2_down - EDGEC_EXP2_MAGIC_BITS)
        : "memory");
    /* clang-format on */
#else
    const float base = EDGEC_EXP2_MAGIC - top;
    for (; length > 0; length--) {
        int32_t index = edgec_p_max(edgec_exp2_index(*s, base), EDGEC_EXP2_LOWEST);
        index = index < EDGEC_EXP2_MAGIC_BITS ? index : EDGEC_EXP2_MAGIC_BITS;
        const uint32_t e = edgec_exp2_bytes[index - EDGEC_EXP2_LOWEST];
        const float w = (float)(int32_t)e * edgec_half_low(*v_scale);
        *total += e;
        most = edgec_max(w, most);
        *s++ = w;
        v_scale += kv;
    }
#endif
    return most;
}

/* p[t] = rint(w[t] * inverse), in 0 .. 255. */
EDGEC_INLINE void edgec_weights_to_bytes(const float *w, uint8_t *p, uint32_t length, float inverse) {
#if defined(EDGEC_PULP_FLOAT)
    if (!EDGEC_SELDOM(length < 2u)) {
        uint32_t a, b, magic;
        /* clang-format off */
        __asm__ volatile(
            "lui %[magic], %[magic_] >> 12\n\t"
            EDGEC_HWLOOP("0", "%[pairs]", "8",
                EDGEC_P_LW("%[a]", "4", "%[w]")
                EDGEC_P_LW("%[b]", "4", "%[w]")
                "fmul.s %[a], %[a], %[inverse]\n\t"
                "fmul.s %[b], %[b], %[inverse]\n\t"
                "fadd.s %[a], %[a], %[magic]\n\t"
                "fadd.s %[b], %[b], %[magic]\n\t"
                EDGEC_P_SB("%[a]", "1", "%[p]")
                EDGEC_P_SB("%[b]", "1", "%[p]"))
            : [w] "+r"(w), [p] "+r"(p), [a] "=&r"(a), [b] "=&r"(b), [magic] "=&r"(magic)
            : [pairs] "r"(length / 2u), [inverse] "r"(inverse), [magic_] "i"(EDGEC_MAGIC_BITS)
            : "memory");
        /* clang-format on */
        length %= 2u;
    }
#endif
    EDGEC_UNROLL_1
    for (; length > 0; length--) {
        *p++ = (uint8_t)edgec_bits(*w++ * inverse + EDGEC_MAGIC);
    }
}

/* The same of weights w * 2^-112, of which `most` is the row's largest. w is used up. */
EDGEC_INLINE void edgec_weigh_bytes(float *w, uint8_t *p, uint32_t length, float most) {
    const float weight = most * EDGEC_UP;
    float inverse = edgec_bits(weight) ? edgec_quotient(255.0f, weight) : 0.0f;
    if (EDGEC_SELDOM(inverse >= EDGEC_UP_LIMIT)) {
        EDGEC_UNROLL_1
        for (uint32_t t = 0; t < length; t++) {
            w[t] *= EDGEC_UP;
        }
    } else {
        inverse *= EDGEC_UP;
    }
    edgec_weights_to_bytes(w, p, length, inverse);
}

/* The factor of p . v, where the sum of e is `total`. */
EDGEC_INLINE float edgec_values_factor(float most, float total) {
    return (most * EDGEC_UP * edgec_quotient(255.0f, total)) * EDGEC_ONE_65025TH;
}

/* One row and head whose largest score is `top`. s, p: [length + hidden]; v_scale: [length][kv]. Returns the factor of
 * p . v. */
EDGEC_INLINE float edgec_softmax_row(float *s, uint8_t *p, const uint16_t *v_scale, uint32_t kv,
                                     uint32_t length, uint32_t hidden, float top) {
    uint32_t total = 0;
    const float most = edgec_weigh_row(s, v_scale, kv, length, top, &total);
    edgec_weigh_bytes(s, p, length, most);
    EDGEC_UNROLL_1
    for (p += length; EDGEC_SELDOM(hidden > 0); hidden--) {
        *p++ = 0;
    }
    return edgec_values_factor(most, (float)(int32_t)total);
}

#endif
