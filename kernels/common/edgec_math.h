/* edgec's own float functions: the C twins of edgec/ops/numerics.py, under the same names.
 *
 * Each is a fixed sequence of IEEE binary32 operations and integer operations on the bits, and gives the
 * bits that NumPy gives. NaN is not handled: no kernel produces one from finite inputs.
 */
#ifndef EDGEC_MATH_H
#define EDGEC_MATH_H

#include <stdint.h>

/* Adding 1.5 * 2^23 leaves the rounded integer in the low mantissa bits, for |x| < 2^22. */
#define EDGEC_MAGIC      12582912.0f
#define EDGEC_MAGIC_BITS 0x4B400000u

#define EDGEC_LOG2E     1.4426950408889634f
#define EDGEC_ONE_127TH (1.0f / 127.0f)
#define EDGEC_ONE_255TH (1.0f / 255.0f)
#define EDGEC_F16_MAX   65504.0f

/* Bits of a float and back. Through a union, as a freestanding memcpy is a call of a function. */
typedef union {
    float number;
    uint32_t bits;
} edgec_binary32;

static inline uint32_t edgec_bits(float x) {
    return ((edgec_binary32){.number = x}).bits;
}

static inline float edgec_float(uint32_t bits) {
    return ((edgec_binary32){.bits = bits}).number;
}

/* How this core computes with floats: RISC-V with instructions for it (in registers of their own, or in the integer
 * registers: zfinx), RISC-V without, where each operation is a call, or something else. */
#if defined(__riscv_zfinx) && __riscv_zfinx == 0
#error "gcc 12 has no zfinx, only its name: take gcc 13 or later, or another float_abi in the target file"
#elif defined(__riscv_flen) || defined(__riscv_zfinx)
#define EDGEC_RISCV_FLOAT 1
#elif defined(__riscv)
#define EDGEC_SOFT_FLOAT 1
#endif

/* An integer in the order of floats: a number that is larger as a float is larger here. */
static inline int32_t edgec_order(float x) {
    const int32_t bits = (int32_t)edgec_bits(x);
    return bits ^ (int32_t)((uint32_t)(bits >> 31) >> 1);
}

/* The larger and the smaller of two numbers, and |x|. RISC-V has instructions that a comparison does not
 * compile to; elsewhere, and with gcc, the builtin could become a call of the maths library. */
static inline float edgec_max(float a, float b) {
#if defined(EDGEC_RISCV_FLOAT) && defined(__clang__)
    return __builtin_fmaxf(a, b);
#elif defined(EDGEC_RISCV_FLOAT)
    float larger;
    __asm__("fmax.s %0, %1, %2" : "=f"(larger) : "f"(a), "f"(b));
    return larger;
#elif defined(EDGEC_SOFT_FLOAT)
    return edgec_order(a) > edgec_order(b) ? a : b;
#else
    return a > b ? a : b;
#endif
}

static inline float edgec_min(float a, float b) {
#if defined(EDGEC_RISCV_FLOAT) && defined(__clang__)
    return __builtin_fminf(a, b);
#elif defined(EDGEC_RISCV_FLOAT)
    float smaller;
    __asm__("fmin.s %0, %1, %2" : "=f"(smaller) : "f"(a), "f"(b));
    return smaller;
#elif defined(EDGEC_SOFT_FLOAT)
    return edgec_order(a) < edgec_order(b) ? a : b;
#else
    return a < b ? a : b;
#endif
}

static inline float edgec_abs(float x) {
#if defined(__riscv_flen)
    return __builtin_fabsf(x);
#else
    return edgec_float(edgec_bits(x) & 0x7FFFFFFFu);
#endif
}

/* x[i] - shift[i], or x[i] where shift is NULL. */
static inline float edgec_shifted(const float *x, const float *shift, uint32_t i) {
    return shift ? x[i] - shift[i] : x[i];
}

#if defined(EDGEC_SOFT_FLOAT)
/* Nearest integer n of x * 2^power, of two that are as near the one that makes other + n even; n is below 2^24 in
 * magnitude. A third of an addition's instructions. */
static inline int32_t edgec_rint_beside(float x, uint32_t power, uint32_t other) {
    const uint32_t bits = edgec_bits(x);
    const uint32_t below = 150u - power - (bits << 1 >> 24); /* bits of the significand behind the point */
    if (below > 24u) {                                       /* less than a half */
        return 0;
    }
    const uint32_t significand = (bits & 0x007FFFFFu) | 0x00800000u;
    const uint32_t half = (1u << (below - 1u)) - 1u + (((significand >> below) ^ other) & 1u);
    const int32_t n = (int32_t)((significand + half) >> below);
    return (int32_t)bits < 0 ? -n : n;
}
#endif

/* Nearest integer, ties to even, of |x| < 2^22. */
static inline int32_t edgec_rint_i32(float x) {
#if defined(EDGEC_SOFT_FLOAT)
    return edgec_rint_beside(x, 0, 0);
#else
    return (int32_t)(edgec_bits(x + EDGEC_MAGIC) - EDGEC_MAGIC_BITS);
#endif
}

/* The bits of 2^(j/32), and 2^(r/32) = 1 + r * (C1 + r * C2) for |r| <= 0.5. */
#define EDGEC_LOG2E_32 46.16624130844683f /* 32 * log2(e) */
#define EDGEC_EXP2_C1  2.166116698955562e-2f
#define EDGEC_EXP2_C2  2.3459619820224677e-4f
static const uint32_t edgec_exp2_table[32] = {
    0x3F800000u, 0x3F82CD87u, 0x3F85AAC3u, 0x3F88980Fu, 0x3F8B95C2u, 0x3F8EA43Au, 0x3F91C3D3u, 0x3F94F4F0u,
    0x3F9837F0u, 0x3F9B8D3Au, 0x3F9EF532u, 0x3FA27043u, 0x3FA5FED7u, 0x3FA9A15Bu, 0x3FAD583Fu, 0x3FB123F6u,
    0x3FB504F3u, 0x3FB8FBAFu, 0x3FBD08A4u, 0x3FC12C4Du, 0x3FC5672Au, 0x3FC9B9BEu, 0x3FCE248Cu, 0x3FD2A81Eu,
    0x3FD744FDu, 0x3FDBFBB8u, 0x3FE0CCDFu, 0x3FE5B907u, 0x3FEAC0C7u, 0x3FEFE4BAu, 0x3FF5257Du, 0x3FFA83B3u,
};

/* e^x with a relative error below 4e-6 (7e-7 for |x| <= 10); x is clamped to [-87, 88]. */
static inline float edgec_exp(float x) {
    const float t = edgec_min(edgec_max(x, -87.0f), 88.0f) * EDGEC_LOG2E_32;
#if defined(EDGEC_SOFT_FLOAT)
    const uint32_t n = (uint32_t)edgec_rint_i32(t);
    const float r = t - (float)(int32_t)n;
#else
    const float sum = t + EDGEC_MAGIC;
    const uint32_t n = edgec_bits(sum); /* its low bits: EDGEC_MAGIC_BITS ends in more zeros than are used */
    const float r = t - (sum - EDGEC_MAGIC);
#endif
    const float p = (r * EDGEC_EXP2_C2 + EDGEC_EXP2_C1) * r + 1.0f;
    return p * edgec_float(edgec_exp2_table[n & 31u] + (n >> 5 << 23));
}

/* 1/sqrt(x) for normal positive x: an integer first guess and three Newton steps. */
static inline float edgec_rsqrt(float x) {
    float y = edgec_float(0x5F3759DFu - (edgec_bits(x) >> 1));
    const float half = 0.5f * x;
    y = y * (1.5f - (half * y) * y);
    y = y * (1.5f - (half * y) * y);
    y = y * (1.5f - (half * y) * y);
    return y;
}

/* cap tanh(x / cap), as cap - 2 cap / (1 + exp(2 x / cap)); slope = 2 / cap, cap > 0. */
static inline float edgec_capped(float x, float cap, float slope) {
    return cap - (cap + cap) / (1.0f + edgec_exp(x * slope));
}

/* 2^(i/4096) for i <= 0 in Q15, truncated: 32768 at 0, and 0 at -16 * 4096 and below. */
static inline uint32_t edgec_exp2_q15(int32_t i) {
    const uint32_t down = i < -65536 ? 65536u : 0u - (uint32_t)i; /* -i, so that every shift is unsigned */
    const uint32_t f = (0u - down) & 4095u;
    uint32_t p = (f * 2589u) >> 12;
    p = (f * (7355u + p)) >> 12;
    p = (f * (22824u + p)) >> 12;
    return (32768u + p) >> ((down + 4095u) >> 12);
}

/* edgec_exp2_bytes[i] = rint(255 * 2^((i - 576) / 64)), and 0 at 0, which stands for all below. */
#define EDGEC_EXP2_BYTES 577u
/* clang-format off */
static const uint8_t edgec_exp2_bytes[EDGEC_EXP2_BYTES] = {
    0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
    3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4,
    4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5,
    5, 5, 5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 9, 9,
    9, 9, 9, 9, 9, 9, 9, 9, 9, 10, 10, 10, 10, 10, 10, 10, 10, 10, 11, 11, 11, 11, 11, 11,
    11, 11, 12, 12, 12, 12, 12, 12, 12, 12, 13, 13, 13, 13, 13, 13, 13, 14, 14, 14, 14, 14, 14, 14,
    15, 15, 15, 15, 15, 15, 16, 16, 16, 16, 16, 16, 17, 17, 17, 17, 17, 18, 18, 18, 18, 18, 19, 19,
    19, 19, 19, 20, 20, 20, 20, 20, 21, 21, 21, 21, 22, 22, 22, 22, 23, 23, 23, 23, 24, 24, 24, 24,
    25, 25, 25, 25, 26, 26, 26, 27, 27, 27, 27, 28, 28, 28, 29, 29, 29, 30, 30, 30, 31, 31, 31, 32,
    32, 32, 33, 33, 33, 34, 34, 34, 35, 35, 36, 36, 36, 37, 37, 37, 38, 38, 39, 39, 40, 40, 40, 41,
    41, 42, 42, 43, 43, 44, 44, 45, 45, 46, 46, 47, 47, 48, 48, 49, 49, 50, 50, 51, 51, 52, 52, 53,
    54, 54, 55, 55, 56, 57, 57, 58, 58, 59, 60, 60, 61, 62, 62, 63, 64, 64, 65, 66, 67, 67, 68, 69,
    70, 70, 71, 72, 73, 73, 74, 75, 76, 77, 77, 78, 79, 80, 81, 82, 83, 84, 84, 85, 86, 87, 88, 89,
    90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100, 102, 103, 104, 105, 106, 107, 108, 110, 111, 112, 113, 114, 116,
    117, 118, 119, 121, 122, 123, 125, 126, 128, 129, 130, 132, 133, 135, 136, 138, 139, 141, 142, 144, 145, 147, 148, 150,
    152, 153, 155, 157, 158, 160, 162, 164, 165, 167, 169, 171, 173, 175, 176, 178, 180, 182, 184, 186, 188, 190, 192, 195,
    197, 199, 201, 203, 205, 208, 210, 212, 214, 217, 219, 222, 224, 226, 229, 231, 234, 236, 239, 242, 244, 247, 250, 252,
    255,
};
/* clang-format on */

/* Floats from 2^17 to 2^18 are 1/64 apart. The sum of x and (EDGEC_EXP2_MAGIC - top), for |top| <= EDGEC_EXP2_FARTHEST,
 * has x - top in its low bits, both rounded to 1/64, ties to even; and the bits of smaller sums are lower, as integers. */
#define EDGEC_EXP2_MAGIC      196608.0f
#define EDGEC_EXP2_MAGIC_BITS 0x48400000
#define EDGEC_EXP2_LOWEST     (EDGEC_EXP2_MAGIC_BITS - 576) /* stands for entry 0 of the table */
#define EDGEC_EXP2_FARTHEST   65536.0f

/* The bits of x + base; without float instructions, of base plus x in 64ths where x is not far below. */
static inline int32_t edgec_exp2_index(float x, float base) {
#if defined(EDGEC_SOFT_FLOAT)
    const uint32_t far = 0xC8000000u; /* -2^17 */
    const uint32_t bits = edgec_bits(base);
    return edgec_bits(x) >= far ? EDGEC_EXP2_LOWEST : (int32_t)bits + edgec_rint_beside(x, 6, bits);
#else
    return (int32_t)edgec_bits(x + base);
#endif
}

/* Exact value of a finite binary16, subnormals and negatives included. The 15 low bits, moved to where a
 * binary32 has its exponent and mantissa, are the number times 2^-112; the product is exact. */
static inline float edgec_f16_to_f32(uint16_t h) {
    const uint32_t extended = (uint32_t)(int32_t)(int16_t)h
                              << 13; /* four copies of the sign on top: one stays */
#if defined(EDGEC_SOFT_FLOAT)
    if (extended & 0x0F800000u) { /* not subnormal: the product is a larger exponent */
        return edgec_float((extended & 0x8FFFFFFFu) + (112u << 23));
    }
#endif
    return edgec_float(extended & 0x8FFFFFFFu) * 0x1p112f;
}

/* Nearest binary16 (ties to even) of x >= 0, saturated at 65504. Without a sign, numbers are in the order of their bits. */
static inline uint16_t edgec_f16_from_f32(float x) {
    uint32_t bits = edgec_bits(x);
    if (bits < 0x38800000u) { /* 2^-14 */
        /* In [0.5, 1) floats are 2^-24 apart, as binary16's subnormals are: the addition rounds. */
        return (uint16_t)(edgec_bits(x + 0.5f) - 0x3F000000u);
    }
    bits = bits < 0x477FE000u ? bits : 0x477FE000u; /* 65504 */
    /* Half an ulp less one, plus the last kept bit: ties go to even. A carry moves on to the exponent. */
    return (uint16_t)((bits + 0xFFFu + ((bits >> 13) & 1u) - (112u << 23)) >> 13);
}

#endif
