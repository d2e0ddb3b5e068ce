/* The softmax of attention.h for one row and head, for cores with XpulpV2. */
#ifndef EDGEC_SOFTMAX_XPULPV2_H
#define EDGEC_SOFTMAX_XPULPV2_H

#include "edgec_rows_xpulpv2.h"

/* s[t] to w[t] * 2^-112, for the largest score `top`; returns the largest weight and adds to *total, the sum of e. */
EDGEC_INLINE float edgec_weigh_row(float *s, const uint16_t *v_scale, uint32_t kv, uint32_t length, float top,
                                   uint32_t *total) {
    float most = 0.0f;
#if defined(EDGEC_PULP_FLOAT)
    uint32_t x, h, f, e, magic, lowest, mask, from, c0, c1, c2, c3;
    /* Constants are made here, or a compiler keeps them in memory from head to head. */
    /* clang-format off */
    __asm__ volatile(
        "li %[magic], %[magic_]\n\t"
        "li %[lowest], %[lowest_]\n\t"
        "li %[mask], 4095\n\t"
        "li %[from], %[from_]\n\t"
        "li %[c3], 2589\n\t"
        "li %[c2], 7355\n\t"
        "li %[c1], 22824\n\t"
        "li %[c0], 32768 << 12\n\t"
        EDGEC_HWLOOP("0", "%[length]", "20",
            "lw %[x], 0(%[s])\n\t"
            EDGEC_P_LHU_R("%[h]", "%[step]", "%[v]")
            "fsub.s %[x], %[x], %[top]\n\t"
            "slli %[h], %[h], 13\n\t"
            "fadd.s %[x], %[x], %[magic]\n\t"
            EDGEC_P_MAX("%[x]", "%[x]", "%[lowest]")
            "and %[f], %[x], %[mask]\n\t"
            EDGEC_P_MULUN("%[e]", "%[f]", "%[c3]", "12")
            "add %[e], %[e], %[c2]\n\t"
            EDGEC_P_MULUN("%[e]", "%[f]", "%[e]", "12")
            "add %[e], %[e], %[c1]\n\t"
            EDGEC_P_SUBUN("%[x]", "%[from]", "%[x]", "12")
            EDGEC_P_MULUN("%[e]", "%[f]", "%[e]", "0")
            "add %[e], %[e], %[c0]\n\t"
            "srl %[e], %[e], %[x]\n\t"
            "fcvt.s.w %[f], %[e]\n\t"
            "add %[total], %[total], %[e]\n\t"
            "fmul.s %[h], %[h], %[f]\n\t"
            EDGEC_P_MAX("%[most]", "%[most]", "%[h]")
            EDGEC_P_SW("%[h]", "4", "%[s]"))
        : [s] "+r"(s), [v] "+r"(v_scale), [total] "+r"(*total), [most] "+r"(most), [x] "=&r"(x),
          [h] "=&r"(h), [f] "=&r"(f), [e] "=&r"(e), [magic] "=&r"(magic), [lowest] "=&r"(lowest),
          [mask] "=&r"(mask), [from] "=&r"(from), [c0] "=&r"(c0), [c1] "=&r"(c1), [c2] "=&r"(c2),
          [c3] "=&r"(c3)
        : [length] "r"(length), [step] "r"(2u * kv), [top] "r"(top), [magic_] "i"(EDGEC_EXP2_MAGIC_BITS),
          [lowest_] "i"(EDGEC_EXP2_LOWEST - 1), [from_] "i"(EDGEC_EXP2_ZERO)
        : "memory");
    /* clang-format on */
#else
    for (; length > 0; length--) {
        const uint32_t e = edgec_exp2_power(edgec_p_max(edgec_exp2_index(*s - top), EDGEC_EXP2_LOWEST - 1));
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

/* One row and head whose largest score is `top`. s, p: [length + hidden]; v_scale: [length][kv]. Returns the factor of
 * p . v. */
EDGEC_INLINE float edgec_softmax_row(float *s, uint8_t *p, const uint16_t *v_scale, uint32_t kv,
                                     uint32_t length, uint32_t hidden, float top) {
    uint32_t total = 0;
    const float most = edgec_weigh_row(s, v_scale, kv, length, top, &total);
    const float weight = most * EDGEC_UP;
    float inverse = edgec_bits(weight) ? edgec_quotient(255.0f, weight) : 0.0f;
    if (EDGEC_SELDOM(inverse >= EDGEC_UP_LIMIT)) {
        EDGEC_UNROLL_1
        for (uint32_t t = 0; t < length; t++) {
            s[t] *= EDGEC_UP;
        }
    } else {
        inverse *= EDGEC_UP;
    }
    edgec_weights_to_bytes(s, p, length, inverse);
    EDGEC_UNROLL_1
    for (p += length; EDGEC_SELDOM(hidden > 0); hidden--) {
        *p++ = 0;
    }
    return (weight * EDGEC_ONE_255TH) / (float)total;
}

#endif
