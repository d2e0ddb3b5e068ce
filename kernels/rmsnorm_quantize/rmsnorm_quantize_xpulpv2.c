/* The kernel of rmsnorm_quantize.h for cores with XpulpV2. */
#include "rmsnorm_quantize.h"

#include "edgec_rows_xpulpv2.h"

/* max |(x * r) * gain|. x, gain: [count], at least 1 */
EDGEC_INLINE float edgec_normal_top(const float *x, const float *gain, uint32_t count, float r) {
    uint32_t top = 0;
#if defined(EDGEC_PULP_FLOAT)
    uint32_t a, b;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[count]", "6",
            EDGEC_P_LW("%[a]", "4", "%[x]")
            EDGEC_P_LW("%[b]", "4", "%[gain]")
            "fmul.s %[a], %[a], %[r]\n\t"
            "fmul.s %[a], %[a], %[b]\n\t"
            "slli %[a], %[a], 1\n\t" /* without the sign, numbers are in the order of their bits */
            EDGEC_P_MAXU("%[top]", "%[top]", "%[a]"))
        : [x] "+r"(x), [gain] "+r"(gain), [top] "+r"(top), [a] "=&r"(a), [b] "=&r"(b)
        : [count] "r"(count), [r] "r"(r)
        : "memory");
    /* clang-format on */
#else
    for (; count > 0; count--) {
        top = edgec_p_maxu(top, edgec_bits((*x++ * r) * *gain++) << 1);
    }
#endif
    return edgec_float(top >> 1);
}

/* rint(((x * r) * gain) * inverse) to q; returns the sum. x, gain, q: [count], at least 1 */
EDGEC_INLINE int32_t edgec_normal_quantize(const float *x, const float *gain, int8_t *q, uint32_t count,
                                           float r, float inverse) {
#if defined(EDGEC_PULP_FLOAT)
    uint32_t a, b, magic, one;
    int32_t total = 0;
    /* clang-format off */
    __asm__ volatile(
        "lui %[magic], %[magic_] >> 12\n\t"
        "li %[one], 1\n\t"
        EDGEC_HWLOOP("0", "%[count]", "8",
            EDGEC_P_LW("%[a]", "4", "%[x]")
            EDGEC_P_LW("%[b]", "4", "%[gain]")
            "fmul.s %[a], %[a], %[r]\n\t"
            "fmul.s %[a], %[a], %[b]\n\t"
            "fmul.s %[a], %[a], %[inverse]\n\t"
            "fadd.s %[a], %[a], %[magic]\n\t"
            EDGEC_PV_SDOTSP_B("%[total]", "%[a]", "%[one]") /* the low byte */
            EDGEC_P_SB("%[a]", "1", "%[q]"))
        : [x] "+r"(x), [gain] "+r"(gain), [q] "+r"(q), [total] "+r"(total), [a] "=&r"(a), [b] "=&r"(b),
          [magic] "=&r"(magic), [one] "=&r"(one)
        : [count] "r"(count), [r] "r"(r), [inverse] "r"(inverse), [magic_] "i"(EDGEC_MAGIC_BITS)
        : "memory");
    /* clang-format on */
#else
    int32_t total = 0;
    for (; count > 0; count--) {
        const int8_t value = (int8_t)edgec_rint_i32(((*x++ * r) * *gain++) * inverse);
        *q++ = value;
        total += value;
    }
#endif
    return total;
}

void edgec_rmsnorm_quantize(const edgec_rmsnorm_quantize_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t k = a->k;
    const uint32_t groups = edgec_groups(k, a->group_size);
    const edgec_range mine = edgec_share(a->rows * groups, core, n_cores);
    uint32_t unit = mine.begin;
    while (unit < mine.end) {
        const uint32_t row = a->rows > 1u ? unit / groups : 0u;
        const float *x = a->x + (size_t)row * k; /* [k] */
        const float r = edgec_rsqrt_steps(edgec_sum_squares_lanes(x, k) * a->inv_k + a->eps);
        const uint32_t end = edgec_p_minu((row + 1u) * groups, mine.end);
        for (uint32_t first = (unit - row * groups) * a->group_size; unit < end; unit++) {
            const uint32_t count = edgec_p_minu(k - first, a->group_size);
            const float top = edgec_normal_top(x + first, a->gain + first, count, r);
            const float inverse = edgec_bits(top) ? 127.0f / top : 0.0f;
            a->sums[unit] = edgec_normal_quantize(x + first, a->gain + first, a->q + (size_t)row * k + first,
                                                  count, r, inverse);
            a->scale[unit] = top * EDGEC_ONE_127TH;
            first += count;
        }
    }
}
