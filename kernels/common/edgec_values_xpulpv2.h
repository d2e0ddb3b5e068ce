/* Weights times values of one head, for cores with XpulpV2: four products an instruction, over words of four positions
 * that a tile of 4 positions by 4 elements is transposed to.
 */
#ifndef EDGEC_VALUES_XPULPV2_H
#define EDGEC_VALUES_XPULPV2_H

#include "edgec_rows_xpulpv2.h"

#if defined(EDGEC_XPULPV2)
/* Loads 4 bytes of each of 4 positions a, b, c and d, and transposes them, in 13 instructions: r0, y, r2 and r3 then hold
 * elements 0, 1, 2 and 3 of all positions, and v is behind them. It needs the masks. No byte is copied first: r0 is put
 * together from the lowest bytes, by packs that leave its other half alone until it is read. */
/* clang-format off */
#define EDGEC_TRANSPOSE                                                       \
    EDGEC_P_LW_R("%[r0]", "%[stride]", "%[v]")                                \
    EDGEC_P_LW_R("%[r1]", "%[stride]", "%[v]")                                \
    EDGEC_P_LW_R("%[r2]", "%[stride]", "%[v]")                                \
    EDGEC_P_LW_R("%[r3]", "%[stride]", "%[v]")                                \
    EDGEC_PV_PACK_H("%[x]", "%[r1]", "%[r0]")         /* a0 a1 b0 b1 */       \
    EDGEC_PV_PACKLO_B("%[r0]", "%[r1]", "%[r0]")      /* a0 b0 a2 a3 */       \
    EDGEC_PV_PACK_H("%[y]", "%[r3]", "%[r2]")         /* c0 c1 d0 d1 */       \
    EDGEC_PV_SHUFFLE2_B("%[r1]", "%[r0]", "%[upper]") /* a2 b2 a3 b3 */       \
    EDGEC_PV_PACKHI_B("%[r0]", "%[r3]", "%[r2]")      /* a0 b0 c0 d0 */       \
    EDGEC_PV_SHUFFLE2_B("%[r3]", "%[r2]", "%[upper]") /* c2 d2 c3 d3 */       \
    EDGEC_PV_SHUFFLE2_B("%[y]", "%[x]", "%[odd]")     /* a1 b1 c1 d1 */       \
    EDGEC_PV_PACK_H("%[r2]", "%[r3]", "%[r1]")        /* a2 b2 c2 d2 */       \
    EDGEC_PV_SHUFFLE2_H("%[r3]", "%[r1]", "%[high]")  /* a3 b3 c3 d3 */
#define EDGEC_TRANSPOSE_MASKS         \
    "li %[high], 0x00010003\n\t"      \
    "li %[upper], 0x03070206\n\t"     \
    "li %[odd], 0x03010705\n\t"
/* The same as operands, which a loop around has in registers already. */
#define EDGEC_TRANSPOSE_OPERANDS      \
    [high] "r"(0x00010003), [upper] "r"(0x03070206), [odd] "r"(0x03010705)

/* Of several rows or heads with the same values (edgec_trio_xpulpv2.h, edgec_quad_xpulpv2.h): the products of one's weights w
 * with such a tile; registers, fields of a struct `of` in memory, and registers of 0. */
#define EDGEC_MIX(w, a, b, c, e)                          \
    EDGEC_PV_SDOTUSP_B("%[" #a "]", "%[" #w "]", "%[r0]") \
    EDGEC_PV_SDOTUSP_B("%[" #b "]", "%[" #w "]", "%[y]")  \
    EDGEC_PV_SDOTUSP_B("%[" #c "]", "%[" #w "]", "%[r2]") \
    EDGEC_PV_SDOTUSP_B("%[" #e "]", "%[" #w "]", "%[r3]")
#define EDGEC_ASM_T(t)         [t] "=&r"(t)
#define EDGEC_ASM_GET(reg, at) "lw %[" #reg "], " at " + %[of]\n\t"
#define EDGEC_ASM_PUT(reg, at) "sw %[" #reg "], " at " + %[of]\n\t"
#define EDGEC_ASM_ZERO(reg)    "mv %[" #reg "], zero\n\t"
/* clang-format on */
#endif

/* Accumulators of four elements of a head. */
typedef struct {
    int32_t a0, a1, a2, a3;
} edgec_mixed;

/* sum + the sum over t of p[t] * v[t][0 .. 3]. p: [count]; v: [count][stride] of which [4] is read. */
EDGEC_INLINE edgec_mixed edgec_mix_four(const uint8_t *p, const int8_t *v, uint32_t stride, uint32_t count,
                                        edgec_mixed sum) {
    int32_t a0 = sum.a0, a1 = sum.a1, a2 = sum.a2, a3 = sum.a3;
#if defined(EDGEC_XPULPV2)
    uint32_t w, r0, r1, r2, r3;
    if (!EDGEC_SELDOM(count < 4u)) {
        uint32_t x, y;
        /* clang-format off */
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[tiles]", "18",
                EDGEC_P_LW("%[w]", "4", "%[p]")
                EDGEC_TRANSPOSE
                EDGEC_PV_SDOTUSP_B("%[a0]", "%[w]", "%[r0]")
                EDGEC_PV_SDOTUSP_B("%[a1]", "%[w]", "%[y]")
                EDGEC_PV_SDOTUSP_B("%[a2]", "%[w]", "%[r2]")
                EDGEC_PV_SDOTUSP_B("%[a3]", "%[w]", "%[r3]"))
            : [p] "+r"(p), [v] "+r"(v), [a0] "+r"(a0), [a1] "+r"(a1), [a2] "+r"(a2), [a3] "+r"(a3),
              [w] "=&r"(w), [r0] "=&r"(r0), [r1] "=&r"(r1), [r2] "=&r"(r2), [r3] "=&r"(r3), [x] "=&r"(x),
              [y] "=&r"(y)
            : [tiles] "r"(count / 4u), [stride] "r"(stride), EDGEC_TRANSPOSE_OPERANDS
            : "memory");
        /* clang-format on */
    }
    if (count % 4u) {
        /* clang-format off */
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[rest]", "10",
                EDGEC_P_LBU("%[w]", "1", "%[p]")
                "lb %[r0], 0(%[v])\n\t"
                "lb %[r1], 1(%[v])\n\t"
                "lb %[r2], 2(%[v])\n\t"
                "lb %[r3], 3(%[v])\n\t"
                "add %[v], %[v], %[stride]\n\t"
                EDGEC_P_MAC("%[a0]", "%[w]", "%[r0]")
                EDGEC_P_MAC("%[a1]", "%[w]", "%[r1]")
                EDGEC_P_MAC("%[a2]", "%[w]", "%[r2]")
                EDGEC_P_MAC("%[a3]", "%[w]", "%[r3]"))
            : [p] "+r"(p), [v] "+r"(v), [a0] "+r"(a0), [a1] "+r"(a1), [a2] "+r"(a2), [a3] "+r"(a3),
              [w] "=&r"(w), [r0] "=&r"(r0), [r1] "=&r"(r1), [r2] "=&r"(r2), [r3] "=&r"(r3)
            : [rest] "r"(count % 4u), [stride] "r"(stride)
            : "memory");
        /* clang-format on */
    }
#else
    for (; count > 0; count--) {
        const int32_t w = *p++;
        a0 += w * v[0];
        a1 += w * v[1];
        a2 += w * v[2];
        a3 += w * v[3];
        v += stride;
    }
#endif
    return (edgec_mixed){a0, a1, a2, a3};
}

/* acc[0 .. 3] += that sum. */
EDGEC_INLINE void edgec_mix_word(const uint8_t *p, const int8_t *v, uint32_t stride, uint32_t count,
                                 int32_t *acc) {
    const edgec_mixed sum =
        edgec_mix_four(p, v, stride, count, (edgec_mixed){acc[0], acc[1], acc[2], acc[3]});
    acc[0] = sum.a0;
    acc[1] = sum.a1;
    acc[2] = sum.a2;
    acc[3] = sum.a3;
}

/* edgec_mix_word for two heads over the same values, which are transposed once. Arguments ending in 2 are the second's;
 * count is a multiple of 4 and not 0. */
EDGEC_INLINE void edgec_mix_two(const uint8_t *p, const uint8_t *p2, const int8_t *v, uint32_t stride,
                                uint32_t count, int32_t *acc, int32_t *acc2) {
#if defined(EDGEC_XPULPV2)
    int32_t a0, a1, a2, a3, b0, b1, b2,
        b3; /* loaded there: gcc takes 30 operands, and counts a "+r" as two */
    uint32_t w, w2, r0, r1, r2, r3, x, y, high, upper, odd;
    /* clang-format off */
    __asm__ volatile(
        "lw %[a0], 0(%[acc])\n\t"
        "lw %[a1], 4(%[acc])\n\t"
        "lw %[a2], 8(%[acc])\n\t"
        "lw %[a3], 12(%[acc])\n\t"
        "lw %[b0], 0(%[acc2])\n\t"
        "lw %[b1], 4(%[acc2])\n\t"
        "lw %[b2], 8(%[acc2])\n\t"
        "lw %[b3], 12(%[acc2])\n\t"
        EDGEC_TRANSPOSE_MASKS
        EDGEC_HWLOOP("0", "%[tiles]", "23",
            EDGEC_P_LW("%[w]", "4", "%[p]")
            EDGEC_P_LW("%[w2]", "4", "%[p2]")
            EDGEC_TRANSPOSE
            EDGEC_PV_SDOTUSP_B("%[a0]", "%[w]", "%[r0]")
            EDGEC_PV_SDOTUSP_B("%[a1]", "%[w]", "%[y]")
            EDGEC_PV_SDOTUSP_B("%[a2]", "%[w]", "%[r2]")
            EDGEC_PV_SDOTUSP_B("%[a3]", "%[w]", "%[r3]")
            EDGEC_PV_SDOTUSP_B("%[b0]", "%[w2]", "%[r0]")
            EDGEC_PV_SDOTUSP_B("%[b1]", "%[w2]", "%[y]")
            EDGEC_PV_SDOTUSP_B("%[b2]", "%[w2]", "%[r2]")
            EDGEC_PV_SDOTUSP_B("%[b3]", "%[w2]", "%[r3]"))
        : [p] "+r"(p), [p2] "+r"(p2), [v] "+r"(v), [a0] "=&r"(a0), [a1] "=&r"(a1), [a2] "=&r"(a2),
          [a3] "=&r"(a3), [b0] "=&r"(b0), [b1] "=&r"(b1), [b2] "=&r"(b2), [b3] "=&r"(b3), [w] "=&r"(w),
          [w2] "=&r"(w2), [r0] "=&r"(r0), [r1] "=&r"(r1), [r2] "=&r"(r2), [r3] "=&r"(r3), [x] "=&r"(x),
          [y] "=&r"(y), [high] "=&r"(high), [upper] "=&r"(upper), [odd] "=&r"(odd)
        : [tiles] "r"(count / 4u), [stride] "r"(stride), [acc] "r"(acc), [acc2] "r"(acc2)
        : "memory");
    /* clang-format on */
    acc[0] = a0, acc[1] = a1, acc[2] = a2, acc[3] = a3;
    acc2[0] = b0, acc2[1] = b1, acc2[2] = b2, acc2[3] = b3;
#else
    edgec_mix_word(p, v, stride, count, acc);
    edgec_mix_word(p2, v, stride, count, acc2);
#endif
}

/* acc[0 .. d - 1] += sum over t of p[t] * v[t]. p: [count]; v: [count][stride] of which [d] is read. */
EDGEC_INLINE void edgec_mix_row(const uint8_t *p, const int8_t *v, uint32_t stride, uint32_t d,
                                uint32_t count, int32_t *acc) {
    EDGEC_UNROLL_1
    for (; d >= 4u; d -= 4u) {
        edgec_mix_word(p, v, stride, count, acc);
        v += 4;
        acc += 4;
    }
    EDGEC_UNROLL_1
    for (; EDGEC_SELDOM(d > 0); d--) {
        const int8_t *at = v++;
        int32_t sum = *acc;
        EDGEC_UNROLL_1
        for (uint32_t t = 0; t < count; t++) {
            sum += p[t] * *at;
            at += stride;
        }
        *acc++ = sum;
    }
}

/* y [d] = float32(sum over t of p[t] * v[t]) * scale. p: [count]; v: [count][stride] of which [d] is read. */
EDGEC_INLINE void edgec_mix_head(const uint8_t *p, const int8_t *v, uint32_t stride, uint32_t d,
                                 uint32_t count, float scale, float *y) {
    EDGEC_UNROLL_1
    for (; d >= 4u; d -= 4u) {
        const edgec_mixed sum = edgec_mix_four(p, v, stride, count, (edgec_mixed){0, 0, 0, 0});
        y[0] = (float)sum.a0 * scale;
        y[1] = (float)sum.a1 * scale;
        y[2] = (float)sum.a2 * scale;
        y[3] = (float)sum.a3 * scale;
        v += 4;
        y += 4;
    }
    EDGEC_UNROLL_1
    for (; EDGEC_SELDOM(d > 0); d--) {
        const int8_t *at = v++;
        int32_t sum = 0;
        EDGEC_UNROLL_1
        for (uint32_t t = 0; t < count; t++) {
            sum += p[t] * *at;
            at += stride;
        }
        *y++ = (float)sum * scale;
    }
}

/* y [d] = float32(acc) * scale */
EDGEC_INLINE void edgec_finish_row(const int32_t *acc, float *y, uint32_t d, float scale) {
    EDGEC_UNROLL_1
    for (; d > 0; d--) {
        *y++ = (float)*acc++ * scale;
    }
}

/* The same of 4. */
EDGEC_INLINE void edgec_finish_four(const int32_t *acc, float *y, float scale) {
    const float a = (float)acc[0], b = (float)acc[1], c = (float)acc[2], d = (float)acc[3];
    y[0] = a * scale;
    y[1] = b * scale;
    y[2] = c * scale;
    y[3] = d * scale;
}

/* Some elements of a head's values. v: [count][stride] of which [width], at most 4, is read. */
typedef struct {
    const int8_t *v;
    uint32_t stride;
    uint32_t width;
    uint32_t count;
} edgec_values;

/* Weights p of `length` positions as values take them whose last tile is the last 4 positions, or all of fewer: where the
 * last ones are not four, their weights move to the end of a word, behind zeros for what the tile before has; of fewer than
 * four, zeros follow. */
EDGEC_INLINE void edgec_weights_end(uint8_t *p, uint32_t length) {
    const uint32_t rest = length % 4u;
    if (rest > 0) {
        uint8_t *end = p + (length - rest);
        uint32_t word = edgec_load_word(end) << 8u * (4u - rest);
        if (EDGEC_SELDOM(length < 4u)) {
            word >>= 8u * (4u - rest);
        }
        edgec_store_word(end, word);
    }
}

#endif
