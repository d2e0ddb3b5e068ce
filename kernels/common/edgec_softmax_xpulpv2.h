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

/* r [count] of scales, v_scale [count][kv]. */
EDGEC_INLINE void edgec_ratio_row(const uint16_t *v_scale, uint32_t kv, uint32_t count, float ratio,
                                  uint16_t *r) {
#if defined(EDGEC_PULP_FLOAT)
    if (!EDGEC_SELDOM(count < 2u)) {
        uint32_t a, b;
        /* clang-format off */
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[pairs]", "10",
                EDGEC_P_LHU_R("%[a]", "%[step]", "%[v]")
                EDGEC_P_LHU_R("%[b]", "%[step]", "%[v]")
                "slli %[a], %[a], 13\n\t"
                "fmul.s %[a], %[a], %[ratio]\n\t"
                "slli %[b], %[b], 13\n\t"
                "fmul.s %[b], %[b], %[ratio]\n\t"
                "fadd.s %[a], %[a], %[magic]\n\t"
                EDGEC_P_SH("%[a]", "2", "%[r]")
                "fadd.s %[b], %[b], %[magic]\n\t"
                EDGEC_P_SH("%[b]", "2", "%[r]"))
            : [v] "+r"(v_scale), [r] "+r"(r), [a] "=&r"(a), [b] "=&r"(b)
            : [pairs] "r"(count / 2u), [step] "r"(2u * kv), [ratio] "r"(ratio), [magic] "r"(EDGEC_RATIO_MAGIC)
            : "memory");
        /* clang-format on */
        count %= 2u;
    }
#endif
    EDGEC_UNROLL_1
    for (; count > 0; count--) {
        *r++ = (uint16_t)edgec_ratio(*v_scale, ratio);
        v_scale += kv;
    }
}

/* The r of one key/value head, as far as rows have asked for them. */
typedef struct {
    uint32_t length;
    uint32_t most; /* the largest scale so far, its bits */
    float scale;   /* the same as a number */
    float ratio;
} edgec_ratios;

/* r [length] for a row that sees so many positions, no fewer than the row before. v_scale: [length][kv] */
EDGEC_INLINE void edgec_ratios_of(edgec_ratios *of, const uint16_t *v_scale, uint32_t kv, uint32_t length,
                                  uint16_t *r) {
    uint32_t from = of->length;
    if (from == length) {
        return;
    }
    const uint32_t most = edgec_most_scale(v_scale + from * kv, kv, length - from, from ? of->most : 0u);
    if (most != of->most || from == 0) {
        of->most = most;
        of->scale = edgec_f16_to_f32((uint16_t)most);
        of->ratio = edgec_ratio_of(of->scale);
        from = 0; /* all are other ones beside another largest one */
    }
    edgec_ratio_row(v_scale + from * kv, kv, length - from, of->ratio, r + from);
    of->length = length;
}

/* p of whole tiles of 4 positions from their r, for the largest score `top`; returns the sum of e. s, r: [4 * tiles]; p:
 * words that are `step` bytes apart. A score of minus infinity has p = e = 0. s is used up. */
EDGEC_INLINE uint32_t edgec_weigh_tiles(float *s, const uint16_t *r, uint8_t *p, uint32_t step,
                                        uint32_t tiles, float top) {
    uint32_t total = 0;
    top = edgec_near(s, 4u * tiles, top);
#if defined(EDGEC_PULP_FLOAT)
    const float base = EDGEC_EXP2_MAGIC + top; /* as below */
    uint32_t x0, x1, x2, x3, h0, h1, h2, h3;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[tiles]", "31",
            EDGEC_P_LW("%[x0]", "4", "%[s]")
            EDGEC_P_LW("%[x1]", "4", "%[s]")
            EDGEC_P_LW("%[x2]", "4", "%[s]")
            "fsub.s %[x0], %[base], %[x0]\n\t"
            EDGEC_P_LW("%[x3]", "4", "%[s]")
            "fsub.s %[x1], %[base], %[x1]\n\t"
            EDGEC_P_MINU("%[x0]", "%[x0]", "%[last]")
            "fsub.s %[x2], %[base], %[x2]\n\t"
            EDGEC_P_MINU("%[x1]", "%[x1]", "%[last]")
            "fsub.s %[x3], %[base], %[x3]\n\t"
            EDGEC_P_LBU_RR("%[x0]", "%[x0]", "%[table]")
            EDGEC_P_MINU("%[x2]", "%[x2]", "%[last]")
            EDGEC_P_LBU_RR("%[x1]", "%[x1]", "%[table]")
            EDGEC_P_MINU("%[x3]", "%[x3]", "%[last]")
            EDGEC_P_LBU_RR("%[x2]", "%[x2]", "%[table]")
            EDGEC_P_LBU_RR("%[x3]", "%[x3]", "%[table]")
            EDGEC_P_LHU("%[h0]", "2", "%[r]")
            EDGEC_P_LHU("%[h1]", "2", "%[r]")
            EDGEC_P_LHU("%[h2]", "2", "%[r]")
            EDGEC_P_LHU("%[h3]", "2", "%[r]")
            "add %[total], %[total], %[x0]\n\t"
            EDGEC_P_MULURN("%[h0]", "%[x0]", "%[h0]", "15")
            "add %[total], %[total], %[x1]\n\t"
            EDGEC_P_MULURN("%[h1]", "%[x1]", "%[h1]", "15")
            "add %[total], %[total], %[x2]\n\t"
            EDGEC_P_MULURN("%[h2]", "%[x2]", "%[h2]", "15")
            "add %[total], %[total], %[x3]\n\t"
            EDGEC_P_MULURN("%[h3]", "%[x3]", "%[h3]", "15")
            EDGEC_PV_PACKLO_B("%[h0]", "%[h1]", "%[h0]")
            EDGEC_PV_PACKHI_B("%[h0]", "%[h3]", "%[h2]")
            EDGEC_P_SW_R("%[h0]", "%[step]", "%[p]"))
        : [s] "+r"(s), [p] "+r"(p), [r] "+r"(r), [total] "+r"(total), [x0] "=&r"(x0), [x1] "=&r"(x1),
          [x2] "=&r"(x2), [x3] "=&r"(x3), [h0] "=&r"(h0), [h1] "=&r"(h1), [h2] "=&r"(h2), [h3] "=&r"(h3)
        : [tiles] "r"(tiles), [step] "r"(step), [base] "r"(base),
          [last] "r"(EDGEC_EXP2_MAGIC_BITS + EDGEC_EXP2_BYTES - 1u),
          [table] "r"((uintptr_t)hal_exp2_down - EDGEC_EXP2_MAGIC_BITS)
        : "memory");
    /* clang-format on */
#else
    const float base = EDGEC_EXP2_MAGIC - top;
    for (uint32_t t = 0; t < 4u * tiles; t++) {
        const uint32_t e = edgec_exp2_byte(s[t], base);
        total += e;
        p[t / 4u * step + t % 4u] = (uint8_t)((e * r[t] + (1u << 14)) >> 15);
    }
#endif
    return total;
}

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
        *p++ = (uint8_t)((e * edgec_ratio(*v_scale, ratio) + (1u << 14)) >> 15);
        v_scale += kv;
    }
#endif
    return total;
}

/* The factor of p . v: most is the largest scale, total the sum of e. */
EDGEC_INLINE float edgec_values_factor(float most, float total) {
    return (most * edgec_quotient(255.0f, total)) * EDGEC_ONE_255TH;
}

/* One row and head whose largest score is `top`. s: [length]; p: [length + hidden]; v_scale: [length][kv]. Returns the
 * factor of p . v. */
EDGEC_INLINE float edgec_softmax_row(float *s, uint8_t *p, const uint16_t *v_scale, uint32_t kv,
                                     uint32_t length, uint32_t hidden, float top) {
    const float most = edgec_f16_to_f32((uint16_t)edgec_most_scale(v_scale, kv, length, 0));
    const uint32_t total = edgec_weigh_row(s, p, v_scale, kv, length, top, edgec_ratio_of(most));
    EDGEC_UNROLL_1
    for (p += length; EDGEC_SELDOM(hidden > 0); hidden--) {
        *p++ = 0;
    }
    return edgec_values_factor(most, (float)(int32_t)total);
}

#endif
