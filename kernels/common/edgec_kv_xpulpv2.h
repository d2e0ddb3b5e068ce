/* A head of keys or values as kv_append.h quantises it, for cores with XpulpV2. */
#ifndef EDGEC_KV_XPULPV2_H
#define EDGEC_KV_XPULPV2_H

#include "edgec_rows_xpulpv2.h"

/* max |x - shift|. x: [k], k at least 1; shift: `step` bytes apart, one zero where there is none (x - 0 is x) */
EDGEC_INLINE float edgec_shifted_top(const float *x, const float *shift, uint32_t step, uint32_t k) {
    uint32_t top = 0;
#if defined(EDGEC_PULP_FLOAT)
    uint32_t a, b;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[k]", "5",
            EDGEC_P_LW("%[a]", "4", "%[x]")
            EDGEC_P_LW_R("%[b]", "%[step]", "%[shift]")
            "fsub.s %[a], %[a], %[b]\n\t"
            "slli %[a], %[a], 1\n\t" /* without the sign, numbers are in the order of their bits */
            EDGEC_P_MAXU("%[top]", "%[top]", "%[a]"))
        /* top is 0 as step may be: without the & both could get one register */
        : [x] "+r"(x), [shift] "+r"(shift), [top] "+&r"(top), [a] "=&r"(a), [b] "=&r"(b)
        : [k] "r"(k), [step] "r"(step)
        : "memory");
    /* clang-format on */
#else
    for (; k > 0; k--) {
        top = edgec_p_maxu(top, edgec_bits(*x++ - *shift) << 1);
        shift += step / 4u;
    }
#endif
    return edgec_float(top >> 1);
}

/* rint(clamp((x - shift) * inverse, -127, 127)) to q [k]; otherwise as above. */
EDGEC_INLINE void edgec_shifted_quantize(const float *x, const float *shift, uint32_t step, int8_t *q,
                                         uint32_t k, float inverse) {
#if defined(EDGEC_PULP_FLOAT)
    uint32_t a, b, magic, highest, lowest;
    /* clang-format off */
    __asm__ volatile(
        "lui %[magic], %[magic_] >> 12\n\t"
        "li %[highest], 0x42FE0000\n\t" /* 127: the largest bits of a positive number */
        "li %[lowest], 0xC2FE0000\n\t" /* -127: and, unsigned, of a negative one */
        EDGEC_HWLOOP("0", "%[k]", "8",
            EDGEC_P_LW("%[a]", "4", "%[x]")
            EDGEC_P_LW_R("%[b]", "%[step]", "%[shift]")
            "fsub.s %[a], %[a], %[b]\n\t"
            "fmul.s %[a], %[a], %[inverse]\n\t"
            EDGEC_P_MIN("%[a]", "%[a]", "%[highest]")
            EDGEC_P_MINU("%[a]", "%[a]", "%[lowest]")
            "fadd.s %[a], %[a], %[magic]\n\t"
            EDGEC_P_SB("%[a]", "1", "%[q]"))
        : [x] "+r"(x), [shift] "+r"(shift), [q] "+r"(q), [a] "=&r"(a), [b] "=&r"(b), [magic] "=&r"(magic),
          [highest] "=&r"(highest), [lowest] "=&r"(lowest)
        : [k] "r"(k), [step] "r"(step), [inverse] "r"(inverse), [magic_] "i"(EDGEC_MAGIC_BITS)
        : "memory");
    /* clang-format on */
#else
    for (; k > 0; k--) {
        *q++ = (int8_t)edgec_rint_i32(edgec_min(edgec_max((*x++ - *shift) * inverse, -127.0f), 127.0f));
        shift += step / 4u;
    }
#endif
}

/* 1 / x of a binary16 x > 0. The cluster's cores share one divider; this takes fused multiply-adds, of which the last one
 * rounds correctly for each of these x (tests/kernels/test_division.py): a guess that is 6 % off at most, and two steps of
 * third order. */
#define EDGEC_RECIPROCAL_GUESS 0x7EF30000u /* less the bits of x: those of the guess */
EDGEC_INLINE float edgec_reciprocal(float x) {
#if defined(EDGEC_PULP_FLOAT)
    float y = edgec_float(EDGEC_RECIPROCAL_GUESS - edgec_bits(x)), e;
    /* clang-format off */
    __asm__(
        EDGEC_HWLOOP_I("0", "2", "3",
            "fnmsub.s %[e], %[x], %[y], %[one]\n\t"
            "fmadd.s %[e], %[e], %[e], %[e]\n\t"
            "fmadd.s %[y], %[y], %[e], %[y]\n\t")
        : [y] "+r"(y), [e] "=&r"(e)
        : [x] "r"(x), [one] "r"(1.0f));
    /* clang-format on */
    return y;
#else
    return 1.0f / x;
#endif
}

/* x [k], less shift [k] unless that is NULL, to q [k]; returns the binary16 scale. */
EDGEC_INLINE uint16_t edgec_kv_head(const float *x, const float *shift, int8_t *q, uint32_t k) {
    const float none = 0.0f;
    const uint32_t step = shift ? 4u : 0u;
    shift = shift ? shift : &none;
    const uint16_t half = edgec_f16_from_f32(edgec_shifted_top(x, shift, step, k) * EDGEC_ONE_127TH);
    const float inverse = half ? edgec_reciprocal(edgec_f16_to_f32(half)) : 0.0f;
    edgec_shifted_quantize(x, shift, step, q, k, inverse);
    return half;
}

/* edgec_top of x [k], behind which x is moved; k is a multiple of 4. */
EDGEC_INLINE float edgec_kv_top(const float **x, uint32_t k) {
#if defined(EDGEC_PULP_FLOAT)
    uint32_t top = 0, a, b, c, d;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[fours]", "12",
            EDGEC_P_LW("%[a]", "4", "%[x]")
            EDGEC_P_LW("%[b]", "4", "%[x]")
            EDGEC_P_LW("%[c]", "4", "%[x]")
            EDGEC_P_LW("%[d]", "4", "%[x]")
            "slli %[a], %[a], 1\n\t" /* without the sign, numbers are in the order of their bits */
            "slli %[b], %[b], 1\n\t"
            "slli %[c], %[c], 1\n\t"
            "slli %[d], %[d], 1\n\t"
            EDGEC_P_MAXU("%[top]", "%[top]", "%[a]")
            EDGEC_P_MAXU("%[top]", "%[top]", "%[b]")
            EDGEC_P_MAXU("%[top]", "%[top]", "%[c]")
            EDGEC_P_MAXU("%[top]", "%[top]", "%[d]"))
        : [x] "+r"(*x), [top] "+r"(top), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d)
        : [fours] "r"(k / 4u)
        : "memory");
    /* clang-format on */
    return edgec_float(top >> 1);
#else
    const float top = edgec_top(*x, k, 0.0f);
    *x += k;
    return top;
#endif
}

/* edgec_quantize_by without the sum; moves x and q behind the k numbers, a multiple of 4. magic: its bits. */
EDGEC_INLINE void edgec_kv_bytes(const float **x, int8_t **q, uint32_t k, float inverse, uint32_t magic) {
#if defined(EDGEC_PULP_FLOAT)
    uint32_t a, b, c, d;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[fours]", "15", EDGEC_FOUR_BYTES)
        : [x] "+r"(*x), [q] "+r"(*q), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d)
        : [fours] "r"(k / 4u), [inverse] "r"(inverse), [magic] "r"(magic)
        : "memory");
    /* clang-format on */
#else
    (void)magic;
    edgec_quantize_by(*x, *q, k, inverse);
    *x += k;
    *q += k;
#endif
}

/* Scales that are binary16's without a test: from 2^-14 on, up to 65504. As bits of a binary32. */
#define EDGEC_LEAST_SCALE 0x38800000u
#define EDGEC_SCALES      (0x477FE000u - EDGEC_LEAST_SCALE)

/* A scale as binary16 to `half`, and as what that is to `rounded`, if it lies between 2^-14 and 65504; else returns 1. */
EDGEC_INLINE uint32_t edgec_kv_scale(float scale, uint16_t *half, float *rounded) {
    const uint32_t exact = edgec_bits(scale);
    const uint32_t bits = (exact + 0xFFFu + edgec_p_extractu(exact, 1, 13)) >> 13; /* as edgec_f16_from_f32 */
    *half = (uint16_t)(bits - (112u << 10));
    *rounded = edgec_float(bits << 13);
    return exact - EDGEC_LEAST_SCALE >= EDGEC_SCALES;
}

/* `count` heads next to each other, at least one, without a shift, of k elements, a multiple of 4, if their scales lie
 * between 2^-14 and 65504; else returns 1, and what it wrote is void. No quotient there needs a clamp: it is 127.07 at
 * most. */
EDGEC_INLINE uint32_t edgec_kv_fours(const float *x, int8_t *q, uint16_t *scale, uint32_t count, uint32_t k) {
    const float *again = x;
    uint32_t bad = 0;
    EDGEC_UNROLL_1
    do {
        float rounded;
        bad |= edgec_kv_scale(edgec_kv_top(&x, k) * EDGEC_ONE_127TH, scale++, &rounded);
        edgec_kv_bytes(&again, &q, k, edgec_reciprocal(rounded), EDGEC_MAGIC_BITS);
    } while (--count);
    return bad;
}

/* The same of queries, whose scales are floats of any size. */
EDGEC_INLINE void edgec_queries(const float *x, int8_t *q, float *scale, uint32_t count, uint32_t k) {
    const float *again = x;
    EDGEC_UNROLL_1
    do {
        const float top = edgec_kv_top(&x, k);
        *scale++ = top * EDGEC_ONE_127TH;
        edgec_kv_bytes(&again, &q, k, edgec_top_inverse(top), EDGEC_MAGIC_BITS);
    } while (--count);
}

#endif
