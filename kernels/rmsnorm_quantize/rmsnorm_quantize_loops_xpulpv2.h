/* rmsnorm_quantize's loops for cores with XpulpV2. */
#ifndef RMSNORM_QUANTIZE_LOOPS_XPULPV2_H
#define RMSNORM_QUANTIZE_LOOPS_XPULPV2_H

#include "edgec_rows_xpulpv2.h"

/* max |x * gain|, doubled: bits without the sign, in whose order numbers are. Times r, which is positive, it is the largest
 * of the products with r. x, gain: [count], at least 1 */
EDGEC_INLINE uint32_t edgec_gained_top(const float *x, const float *gain, uint32_t count) {
    uint32_t top = 0;
#if defined(EDGEC_PULP_FLOAT)
    uint32_t a, b;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[count]", "6",
            EDGEC_P_LW("%[a]", "4", "%[x]")
            EDGEC_P_LW("%[b]", "4", "%[gain]")
            "nop\n\t"
            "fmul.s %[a], %[a], %[b]\n\t"
            "slli %[a], %[a], 1\n\t"
            EDGEC_P_MAXU("%[top]", "%[top]", "%[a]"))
        : [x] "+r"(x), [gain] "+r"(gain), [top] "+r"(top), [a] "=&r"(a), [b] "=&r"(b)
        : [count] "r"(count)
        : "memory");
    /* clang-format on */
#else
    for (; count > 0; count--) {
        top = edgec_p_maxu(top, edgec_bits(*x++ * *gain++) << 1);
    }
#endif
    return top;
}

/* rint(((x * gain) * r) * inverse) to q; returns the sum. x, gain, q: [count], at least 1 */
EDGEC_INLINE uint32_t edgec_normal_quantize(const float *x, const float *gain, int8_t *q, uint32_t count,
                                            float r, float inverse) {
#if defined(EDGEC_PULP_FLOAT)
    if (!EDGEC_SELDOM(count < 2u)) {
        uint32_t total = 0, a, b, last, magic, one;
        /* A float instruction every other time: two cores share a unit, and take turns. So an element is begun while the
         * one before is finished. */
        /* clang-format off */
        __asm__ volatile(
            EDGEC_P_LW("%[a]", "4", "%[x]")
            EDGEC_P_LW("%[b]", "4", "%[gain]")
            "lui %[magic], %[magic_] >> 12\n\t"
            "fmul.s %[last], %[a], %[b]\n\t"
            "li %[one], 1\n\t"
            "fmul.s %[last], %[last], %[r]\n\t"
            EDGEC_HWLOOP("0", "%[others]", "8",
                EDGEC_P_LW("%[a]", "4", "%[x]")
                "fmul.s %[last], %[last], %[inverse]\n\t"
                EDGEC_P_LW("%[b]", "4", "%[gain]")
                "fadd.s %[last], %[last], %[magic]\n\t"
                EDGEC_PV_SDOTSP_B("%[total]", "%[last]", "%[one]") /* the low byte */
                "fmul.s %[a], %[a], %[b]\n\t"
                EDGEC_P_SB("%[last]", "1", "%[q]")
                "fmul.s %[last], %[a], %[r]\n\t")
            "fmul.s %[last], %[last], %[inverse]\n\t"
            "fadd.s %[last], %[last], %[magic]\n\t"
            EDGEC_PV_SDOTSP_B("%[total]", "%[last]", "%[one]")
            EDGEC_P_SB("%[last]", "1", "%[q]")
            : [x] "+r"(x), [gain] "+r"(gain), [q] "+r"(q), [total] "+&r"(total), [a] "=&r"(a), [b] "=&r"(b),
              [last] "=&r"(last), [magic] "=&r"(magic), [one] "=&r"(one)
            : [others] "r"(count - 1u), [r] "r"(r), [inverse] "r"(inverse), [magic_] "i"(EDGEC_MAGIC_BITS)
            : "memory");
        /* clang-format on */
        return total;
    }
#endif
    int32_t sum = 0;
    EDGEC_UNROLL_1
    for (; count > 0; count--) {
        const int8_t value = (int8_t)edgec_rint_i32(((*x++ * *gain++) * r) * inverse);
        *q++ = value;
        sum += value;
    }
    return (uint32_t)sum;
}

/* rint((v * r) * inverse) to every `step`th of q, a number; returns the sum. v: [count], count at least 2 */
EDGEC_INLINE uint32_t edgec_kept_quantize(const float *v, int8_t *q, const uint32_t step, uint32_t count,
                                          float r, float inverse) {
#if defined(EDGEC_PULP_FLOAT)
    uint32_t total = 0, a, last, magic, one;
    /* clang-format off */
    __asm__ volatile( /* as edgec_normal_quantize */
        EDGEC_P_LW("%[a]", "4", "%[v]")
        "lui %[magic], %[magic_] >> 12\n\t"
        "fmul.s %[last], %[a], %[r]\n\t"
        "li %[one], 1\n\t"
        "fmul.s %[last], %[last], %[inverse]\n\t"
        EDGEC_HWLOOP("0", "%[others]", "6",
            EDGEC_P_LW("%[a]", "4", "%[v]")
            "fadd.s %[last], %[last], %[magic]\n\t"
            EDGEC_PV_SDOTSP_B("%[total]", "%[last]", "%[one]") /* the low byte */
            "fmul.s %[a], %[a], %[r]\n\t"
            EDGEC_P_SB("%[last]", "%[step]", "%[q]")
            "fmul.s %[last], %[a], %[inverse]\n\t")
        "fadd.s %[last], %[last], %[magic]\n\t"
        EDGEC_PV_SDOTSP_B("%[total]", "%[last]", "%[one]")
        EDGEC_P_SB("%[last]", "%[step]", "%[q]")
        : [v] "+r"(v), [q] "+r"(q), [total] "+&r"(total), [a] "=&r"(a), [last] "=&r"(last), [magic] "=&r"(magic),
          [one] "=&r"(one)
        : [others] "r"(count - 1u), [r] "r"(r), [inverse] "r"(inverse), [step] "i"(step),
          [magic_] "i"(EDGEC_MAGIC_BITS)
        : "memory");
    /* clang-format on */
    return total;
#else
    int32_t sum = 0;
    for (; count > 0; count--) {
        const int8_t value = (int8_t)edgec_rint_i32((*v++ * r) * inverse);
        *q = value;
        q += step;
        sum += value;
    }
    return (uint32_t)sum;
#endif
}

#if defined(EDGEC_PULP_FLOAT)
/* An element's square to its lane, and the top with its product with the gain, which is doubled for the next element. Two
 * cores share a float unit: they take turns. The same with the product kept in v. */
/* clang-format off */
#define EDGEC_SQUARE(step, lane)                                                                             \
    EDGEC_P_LW("%[a]", step, "%[x]")                                                                         \
    EDGEC_P_LW("%[b]", step, "%[gain]")                                                                      \
    "fmul.s %[c], %[a], %[a]\n\t"                                                                            \
    EDGEC_P_MAXU("%[top]", "%[top]", "%[product]")                                                           \
    "fmul.s %[product], %[a], %[b]\n\t"                                                                      \
    "slli %[product], %[product], 1\n\t"                                                                     \
    "fadd.s " lane ", " lane ", %[c]\n\t"
#define EDGEC_SQUARE_KEPT(step, lane)                                                                        \
    EDGEC_P_LW("%[a]", step, "%[x]")                                                                         \
    EDGEC_P_LW("%[b]", step, "%[gain]")                                                                      \
    "fmul.s %[c], %[a], %[a]\n\t"                                                                            \
    EDGEC_P_MAXU("%[top]", "%[top]", "%[product]")                                                           \
    "fmul.s %[product], %[a], %[b]\n\t"                                                                      \
    EDGEC_P_SW("%[product]", "4", "%[v]")                                                                    \
    "fadd.s " lane ", " lane ", %[c]\n\t"                                                                    \
    "slli %[product], %[product], 1\n\t"
/* clang-format on */
#endif

/* Of every 8th of x the sum of squares, ascending, and as edgec_gained_top the largest with its gain. count: at least 1 */
EDGEC_INLINE uint32_t edgec_lane(const float *x, const float *gain, uint32_t count, float *squares) {
    uint32_t top = 0;
    float sum = 0.0f;
#if defined(EDGEC_PULP_FLOAT)
    uint32_t a, b, c, product = 0;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[count]", "7", EDGEC_SQUARE("32", "%[sum]"))
        EDGEC_P_MAXU("%[top]", "%[top]", "%[product]")
        : [x] "+r"(x), [gain] "+r"(gain), [top] "+r"(top), [sum] "+r"(sum), [product] "+r"(product), [a] "=&r"(a),
          [b] "=&r"(b), [c] "=&r"(c)
        : [count] "r"(count)
        : "memory");
    /* clang-format on */
#else
    for (; count > 0; count--) {
        top = edgec_p_maxu(top, edgec_bits(*x * *gain) << 1);
        sum += *x * *x;
        x += 8;
        gain += 8;
    }
#endif
    *squares = sum;
    return top;
}

/* The same, and the products to v [count]. */
EDGEC_INLINE uint32_t edgec_lane_kept(const float *x, const float *gain, float *v, uint32_t count,
                                      float *squares) {
#if defined(EDGEC_PULP_FLOAT)
    uint32_t top = 0, a, b, c, product = 0;
    float sum = 0.0f;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[count]", "8", EDGEC_SQUARE_KEPT("32", "%[sum]"))
        EDGEC_P_MAXU("%[top]", "%[top]", "%[product]")
        : [x] "+r"(x), [gain] "+r"(gain), [v] "+r"(v), [top] "+r"(top), [sum] "+r"(sum), [product] "+r"(product),
          [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c)
        : [count] "r"(count)
        : "memory");
    /* clang-format on */
    *squares = sum;
    return top;
#else
    for (uint32_t i = 0; i < count; i++) {
        v[i] = x[8u * i] * gain[8u * i];
    }
    return edgec_lane(x, gain, count, squares);
#endif
}

/* The sum of squares of every 8th of x, ascending. */
EDGEC_INLINE float edgec_lane_squares(const float *x, uint32_t count) {
    float sum = 0.0f;
#if defined(EDGEC_PULP_FLOAT)
    if (count > 0) {
        uint32_t a;
        /* clang-format off */
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[count]", "3",
                EDGEC_P_LW("%[a]", "32", "%[x]")
                "fmul.s %[a], %[a], %[a]\n\t"
                "fadd.s %[sum], %[sum], %[a]\n\t")
            : [x] "+r"(x), [sum] "+r"(sum), [a] "=&r"(a)
            : [count] "r"(count)
            : "memory");
        /* clang-format on */
    }
#else
    for (; count > 0; count--) {
        sum += *x * *x;
        x += 8;
    }
#endif
    return sum;
}

/* The sum of the lanes as edgec_sum_squares adds them. */
EDGEC_INLINE float edgec_lanes_sum(const float *lane) {
    float s[4];
    for (uint32_t j = 0; j < 4u; j++) {
        s[j] = lane[j] + lane[j + 4u];
    }
    return (s[0] + s[2]) + (s[1] + s[3]);
}

/* edgec_rsqrt, and the largest of tops [8]: two cores share a float unit, so every other instruction is of another kind. */
EDGEC_INLINE float edgec_rsqrt_beside(float x, const uint32_t *tops, uint32_t *top) {
    uint32_t highest = edgec_p_maxu(tops[0], tops[1]);
#if defined(EDGEC_PULP_FLOAT)
    float y = edgec_float(0x5F3759DFu - (edgec_bits(x) >> 1)), t;
    const float half = 0.5f * x;
    const uint32_t *at = tops + 2;
    uint32_t a, b;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP_I("0", "3", "8",
            "fmul.s %[t], %[half], %[y]\n\t"
            EDGEC_P_LW("%[a]", "4", "%[at]")
            "fmul.s %[t], %[t], %[y]\n\t"
            EDGEC_P_LW("%[b]", "4", "%[at]")
            "fsub.s %[t], %[c], %[t]\n\t"
            EDGEC_P_MAXU("%[top]", "%[top]", "%[a]")
            "fmul.s %[y], %[y], %[t]\n\t"
            EDGEC_P_MAXU("%[top]", "%[top]", "%[b]"))
        : [y] "+r"(y), [t] "=&r"(t), [at] "+r"(at), [top] "+r"(highest), [a] "=&r"(a), [b] "=&r"(b)
        : [half] "r"(half), [c] "r"(1.5f)
        : "memory");
    /* clang-format on */
    *top = highest;
    return y;
#else
    for (uint32_t j = 2; j < 8u; j++) {
        highest = edgec_p_maxu(highest, tops[j]);
    }
    *top = highest;
    return edgec_rsqrt(x);
#endif
}

/* edgec_sum_squares of x [k], and as edgec_gained_top the largest with its gain. The products go to v [k], unless that is
 * NULL, as is known when this is compiled. k: at least 8 */
EDGEC_INLINE float edgec_gained_squares(const float *x, const float *gain, uint32_t k, float *v,
                                        uint32_t *top) {
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f, s4 = 0.0f, s5 = 0.0f, s6 = 0.0f, s7 = 0.0f;
    uint32_t highest = 0;
#if defined(EDGEC_PULP_FLOAT)
    uint32_t a, b, c, product = 0;
    /* clang-format off */
#define EDGEC_EIGHT(square)                                                                                  \
    square("4", "%[s0]") square("4", "%[s1]") square("4", "%[s2]") square("4", "%[s3]")                      \
    square("4", "%[s4]") square("4", "%[s5]") square("4", "%[s6]") square("4", "%[s7]")
#define EDGEC_LANES                                                                                          \
    [x] "+r"(x), [gain] "+r"(gain), [v] "+r"(v), [top] "+r"(highest), [product] "+r"(product), [s0] "+r"(s0), \
    [s1] "+r"(s1), [s2] "+r"(s2), [s3] "+r"(s3), [s4] "+r"(s4), [s5] "+r"(s5), [s6] "+r"(s6), [s7] "+r"(s7), \
    [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c)
    if (v) {
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[eights]", "64", EDGEC_EIGHT(EDGEC_SQUARE_KEPT))
            EDGEC_P_MAXU("%[top]", "%[top]", "%[product]")
            : EDGEC_LANES : [eights] "r"(k / 8u) : "memory");
    } else {
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[eights]", "56", EDGEC_EIGHT(EDGEC_SQUARE))
            EDGEC_P_MAXU("%[top]", "%[top]", "%[product]")
            : EDGEC_LANES : [eights] "r"(k / 8u) : "memory");
    }
#undef EDGEC_EIGHT
#undef EDGEC_LANES
    /* clang-format on */
    k %= 8u;
#endif
    if (EDGEC_SELDOM(k > 0)) {
        float lane[8] = {s0, s1, s2, s3, s4, s5, s6, s7};
        EDGEC_UNROLL_1
        for (uint32_t i = 0; i < k; i++) {
            const float gained = x[i] * gain[i];
            if (v) {
                v[i] = gained;
            }
            lane[i % 8u] += x[i] * x[i];
            highest = edgec_p_maxu(highest, edgec_bits(gained) << 1);
        }
        s0 = lane[0], s1 = lane[1], s2 = lane[2], s3 = lane[3];
        s4 = lane[4], s5 = lane[5], s6 = lane[6], s7 = lane[7];
    }
    *top = highest;
    return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7));
}

#endif
