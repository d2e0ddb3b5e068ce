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
/* Nearest integer, ties to even, of x * 2^power; it is below 2^22 in magnitude. A third of an addition's instructions. */
static inline int32_t edgec_rint_scaled(float x, uint32_t power) {
    const uint32_t bits = edgec_bits(x);
    const uint32_t below = 150u - power - (bits << 1 >> 24); /* bits of the significand behind the point */
    if (below > 24u) {                                       /* less than a half */
        return 0;
    }
    const uint32_t significand = (bits & 0x007FFFFFu) | 0x00800000u;
    const uint32_t half = (1u << (below - 1u)) - 1u + (significand >> below & 1u);
    const int32_t n = (int32_t)((significand + half) >> below);
    return (int32_t)bits < 0 ? -n : n;
}
#endif

/* Nearest integer, ties to even, of |x| < 2^22. */
static inline int32_t edgec_rint_i32(float x) {
#if defined(EDGEC_SOFT_FLOAT)
    return edgec_rint_scaled(x, 0);
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

/* 1/sqrt(x) for normal positive x: an integer first guess and four Newton steps. */
static inline float edgec_rsqrt(float x) {
    float y = edgec_float(0x5F3759DFu - (edgec_bits(x) >> 1));
    const float half = 0.5f * x;
    y = y * (1.5f - (half * y) * y);
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

/* edgec_exp2_q15(rint(x * 4096)) for x <= 0, in its three steps. The last bit of a float between 2048 and 4096 is
 * 2^-12: adding 3072 to x rounds x * 4096 to an integer, ties to even, and leaves it in the low bits. */
#define EDGEC_EXP2_MAGIC      3072.0f
#define EDGEC_EXP2_MAGIC_BITS 0x45400000
/* Below -15 * 4096 the power is 0. So it is for every smaller x: as integers, the bits of all negative sums are
 * lower still. */
#define EDGEC_EXP2_LOWEST     (EDGEC_EXP2_MAGIC_BITS - 15 * 4096)
/* (zero - index) >> 12 are two shifts to the right in one: by the 12 bits of the last product's fraction, and by the
 * distance from 0 rounded up to whole powers. */
#define EDGEC_EXP2_ZERO       (EDGEC_EXP2_MAGIC_BITS + 12u * 4096u + 4095u)

static inline int32_t edgec_exp2_index(float x) {
#if defined(EDGEC_SOFT_FLOAT)
    const uint32_t far = 0xC1800000u; /* -16 */
    return edgec_bits(x) > far ? EDGEC_EXP2_LOWEST - 1 : EDGEC_EXP2_MAGIC_BITS + edgec_rint_scaled(x, 12);
#else
    return (int32_t)edgec_bits(x + EDGEC_EXP2_MAGIC);
#endif
}

/* The power, for an index of at least EDGEC_EXP2_LOWEST - 1. */
static inline uint32_t edgec_exp2_power(int32_t index) {
    const uint32_t f = (uint32_t)index & 4095u;
    uint32_t p = (f * 2589u) >> 12;
    p = (f * (7355u + p)) >> 12;
    p = f * (22824u + p) + (32768u << 12);
    return p >> ((EDGEC_EXP2_ZERO - (uint32_t)index) >> 12);
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
