/* From a group's integer sums to y, on XpulpV2: zero points, scales, and what comes behind them. */
#ifndef EDGEC_MATMUL_W4A8_SUMS_XPULPV2_H
#define EDGEC_MATMUL_W4A8_SUMS_XPULPV2_H

#include "edgec_math.h"
#include "edgec_xpulpv2.h"
#include "matmul_w4a8.h"

/* acc -= (zero - middle code) * sum of x, for weights with zero points. */
EDGEC_APART void edgec_matmul_zeros(uint32_t channels, int32_t *acc, const uint8_t *zeros, uint32_t groups,
                                    int32_t middle, int32_t x_sum) {
    for (uint32_t c = 0; c < channels; c++) { /* modulo 2^32, as on the way to a sum that fits */
        acc[c] = (int32_t)((uint32_t)acc[c] + (uint32_t)(middle - zeros[c * groups]) * (uint32_t)x_sum);
    }
}

/* to[c] = old + float(acc[c]) * (w_scale[c * groups] * x_scale): old is to[c], or -0 in the first group. -0 + p is
 * p for every p, so nothing is added there. */
EDGEC_APART void edgec_matmul_scale_any(uint32_t channels, const int32_t *acc, const uint16_t *w_scale,
                                        uint32_t groups, float x_scale, uint32_t first, float *to) {
    for (uint32_t c = 0; c < channels; c++) {
        const float product = (float)acc[c] * (edgec_f16_to_f32(w_scale[c * groups]) * x_scale);
        to[c] = first ? product : to[c] + product;
    }
}

/* The same. A binary16's bits, moved to where a binary32 has its own, are the number times 2^-112 (edgec_math.h). The
 * other factor takes 2^112 in advance, exactly, and their product is rounded once, as it is without. */
EDGEC_INLINE void edgec_matmul_scale(uint32_t channels, const int32_t *acc, const uint16_t *w_scale,
                                     uint32_t groups, float x_scale, uint32_t first, float *to) {
#if defined(EDGEC_XPULPV2) && defined(__riscv_zfinx)
    if (edgec_abs(x_scale) < 65536.0f) {
        uint32_t sum, scale, old, mask, from;
        /* clang-format off */
#define SCALED                                           \
    EDGEC_P_LW("%[sum]", "4", "%[acc]")                  \
    EDGEC_P_LH_R("%[scale]", "%[stride]", "%[w]")        \
    "fcvt.s.w %[sum], %[sum]\n\t"                        \
    "slli %[scale], %[scale], 13\n\t"                    \
    "and %[scale], %[scale], %[mask]\n\t"                \
    "fmul.s %[scale], %[scale], %[x]\n\t"
        __asm__ volatile(
            "lui %[mask], 0x90000\n\taddi %[mask], %[mask], -1\n\tbnez %[first], 1f\n\tmv %[from], %[to]\n\t"
            EDGEC_HWLOOP("0", "%[channels]", "10",
                         SCALED
                         EDGEC_P_LW("%[old]", "4", "%[from]")
                         "fmul.s %[sum], %[sum], %[scale]\n\t"
                         "fadd.s %[sum], %[old], %[sum]\n\t"
                         EDGEC_P_SW("%[sum]", "4", "%[to]"))
            "j 2f\n1:\n\t"
            EDGEC_HWLOOP("0", "%[channels]", "8",
                         SCALED
                         "fmul.s %[sum], %[sum], %[scale]\n\t"
                         EDGEC_P_SW("%[sum]", "4", "%[to]"))
            "2:\n\t"
            : [acc] "+r"(acc), [w] "+r"(w_scale), [to] "+r"(to), [sum] "=&r"(sum), [scale] "=&r"(scale),
              [mask] "=&r"(mask), [from] "=&r"(from), [old] "=&r"(old)
            : [channels] "r"(channels), [stride] "r"(2u * groups), [x] "r"(x_scale * 0x1p112f), [first] "r"(first)
            : "memory");
#undef SCALED
        /* clang-format on */
        return;
    }
#endif
    edgec_matmul_scale_any(channels, acc, w_scale, groups, x_scale, first, to);
}

/* to[c] = a[c] + b[c]; to may be a or b. */
EDGEC_INLINE void edgec_matmul_add(uint32_t channels, const float *a, const float *b, float *to) {
#if defined(EDGEC_XPULPV2) && defined(__riscv_zfinx)
    uint32_t first, second;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[channels]", "4",
                     EDGEC_P_LW("%[first]", "4", "%[a]")
                     EDGEC_P_LW("%[second]", "4", "%[b]")
                     "fadd.s %[first], %[first], %[second]\n\t"
                     EDGEC_P_SW("%[first]", "4", "%[to]"))
        : [a] "+r"(a), [b] "+r"(b), [to] "+r"(to), [first] "=&r"(first), [second] "=&r"(second)
        : [channels] "r"(channels)
        : "memory");
    /* clang-format on */
#else
    for (uint32_t c = 0; c < channels; c++) {
        to[c] = a[c] + b[c];
    }
#endif
}

/* What comes behind the sums [channels]: y = addend + ((sum + bias) + minima). Weights without all that pay nothing. sum may
 * lie in y, unless there is an addend. */
EDGEC_APART void edgec_matmul_finish(const edgec_matmul_w4a8_args *a, uint32_t bits, uint32_t groups,
                                     uint32_t row, uint32_t n, uint32_t channels, float *sum) {
    if (a->bias) {
        edgec_matmul_add(channels, sum, a->bias + n, sum);
    }
    if (a->w_min) { /* what lies between zero and the middle code */
        const int32_t *x_sums = a->x_sums + (size_t)row * groups; /* [groups] */
        const float *x_scale = a->x_scale + (size_t)row * groups; /* [groups] */
        for (uint32_t c = 0; c < channels; c++) {
            const size_t first = (size_t)(n + c) * groups;
            float value = sum[c];
            for (uint32_t g = 0; g < groups; g++) {
                const float middle = (float)(1 << (bits - 1u)) * edgec_f16_to_f32(a->w_scale[first + g]) +
                                     edgec_f16_to_f32(a->w_min[first + g]);
                value += (float)x_sums[g] * (middle * x_scale[g]);
            }
            sum[c] = value;
        }
    }
    float *y = a->y + (size_t)row * a->ldy + n; /* [channels] */
    if (a->addend) {
        edgec_matmul_add(channels, a->addend + (size_t)row * a->ldy + n, sum, y);
    } else if (sum != y) {
        EDGEC_UNROLL_4
        for (uint32_t c = 0; c < channels; c++) {
            y[c] = sum[c];
        }
    }
}

#endif
