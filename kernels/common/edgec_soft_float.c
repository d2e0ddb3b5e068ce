/* binary32 arithmetic for RISC-V cores without float instructions: the functions that a compiler calls there for +, -, *,
 * /, comparisons and conversions of integers, under the names that it gives them. Elsewhere this file is empty.
 *
 * Results are IEEE 754's, rounded to nearest, ties to even; subnormals, infinities and NaN included, flags not. What is
 * common comes first in each function: two normal numbers with a normal result take about half the instructions that
 * compilers' own libraries take.
 */
#include "edgec_kernel.h"
#include "edgec_math.h"

#if defined(EDGEC_SOFT_FLOAT)

#define SIGN     0x80000000u
#define INFINITE 0x7F800000u
#define NAN_BITS 0x7FC00000u
#define TOP                                                                                                  \
    26u /* significands have 24 bits and three to round by, the last of which stands for all below it */

float __addsf3(float x, float y);
float __subsf3(float x, float y);
float __mulsf3(float x, float y);
float __divsf3(float x, float y);
float __floatsisf(int32_t x);
float __floatunsisf(uint32_t x);
int32_t __ltsf2(float x, float y);
int32_t __lesf2(float x, float y);
int32_t __gtsf2(float x, float y);
int32_t __gesf2(float x, float y);
int32_t __eqsf2(float x, float y);
int32_t __nesf2(float x, float y);
int32_t __unordsf2(float x, float y);

/* A number without its sign: significand * 2^(exponent - 127 - TOP). Normal numbers have the exponent of their bits, and
 * bit TOP set. */
typedef struct {
    uint32_t significand;
    int32_t exponent;
} edgec_parts;

EDGEC_INLINE uint32_t edgec_exponent(uint32_t bits) {
    return bits << 1 >> 24;
}

EDGEC_INLINE uint32_t edgec_significand(uint32_t bits) {
    return (bits << 8 | SIGN) >> (31u - TOP);
}

EDGEC_INLINE uint32_t edgec_is_nan(uint32_t bits) {
    return bits << 1 > INFINITE << 1;
}

/* Shifted up until bit TOP is set; the significand is not 0. */
EDGEC_INLINE edgec_parts edgec_normal(edgec_parts x) {
    while (!(x.significand >> (TOP - 8u))) {
        x.significand <<= 8;
        x.exponent -= 8;
    }
    while (!(x.significand >> TOP)) {
        x.significand <<= 1;
        x.exponent--;
    }
    return x;
}

/* A finite number other than 0, which may be subnormal. */
static edgec_parts edgec_parts_of(uint32_t bits) {
    if (edgec_exponent(bits)) {
        return (edgec_parts){edgec_significand(bits), (int32_t)edgec_exponent(bits)};
    }
    return edgec_normal((edgec_parts){(bits << 9) >> (32u - TOP), 1});
}

/* Rounds a number whose bit TOP is set. */
EDGEC_INLINE float edgec_rounded(uint32_t sign, edgec_parts x) {
    uint32_t exponent =
        (uint32_t)x.exponent - 1u; /* the significand's highest bit adds 1 to it, and a carry one more */
    if (exponent >= 253u) {
        if (x.exponent >= 255) {
            return edgec_float(sign | INFINITE);
        }
        if (x.exponent <= 0) { /* subnormal */
            const uint32_t by = x.exponent < -30 ? 31u : (uint32_t)(1 - x.exponent);
            x.significand = x.significand >> by | (x.significand << (32u - by) != 0);
            exponent = 0;
        }
    }
    return edgec_float(sign + (exponent << 23) + ((x.significand + 3u + (x.significand >> 3 & 1u)) >> 3));
}

/* ---- Sums ---- */

EDGEC_APART float edgec_add_special(uint32_t a, uint32_t b);

/* The sum of numbers of which |a| >= |b|, or their difference where their signs differ. */
EDGEC_INLINE float edgec_add_parts(uint32_t a, uint32_t b, edgec_parts x, edgec_parts y) {
    const uint32_t by = (uint32_t)(x.exponent - y.exponent);
    if (by > TOP) {
        return edgec_float(a);
    }
    uint32_t shifted = y.significand >> by;
    shifted |= shifted << by != y.significand;
    if ((int32_t)(a ^ b) >= 0) {
        x.significand += shifted;
        if (x.significand >> (TOP + 1u)) {
            x.significand = x.significand >> 1 | (x.significand & 1u);
            x.exponent++;
        }
    } else {
        x.significand -= shifted;
        if (x.significand == 0) {
            return 0.0f;
        }
        x = edgec_normal(x);
    }
    return edgec_rounded(a & SIGN, x);
}

float __addsf3(float x, float y) {
    uint32_t a = edgec_bits(x), b = edgec_bits(y);
    if (a << 1 < b << 1) {
        a = edgec_bits(y);
        b = edgec_bits(x);
    }
    const edgec_parts large = {edgec_significand(a), (int32_t)edgec_exponent(a)};
    const edgec_parts small = {edgec_significand(b), (int32_t)edgec_exponent(b)};
    if (small.exponent == 0 || large.exponent == 255) {
        return edgec_add_special(a, b);
    }
    return edgec_add_parts(a, b, large, small);
}

EDGEC_APART float edgec_add_special(uint32_t a, uint32_t b) {
    if (a << 1 >= INFINITE << 1) {
        return edgec_float(edgec_is_nan(a) || (a ^ b) == SIGN ? NAN_BITS : a);
    }
    if (b << 1 == 0) {
        return edgec_float(a << 1 == 0 ? a & b : a);
    }
    return edgec_add_parts(a, b, edgec_parts_of(a), edgec_parts_of(b));
}

float __subsf3(float x, float y) {
    return __addsf3(x, edgec_float(edgec_bits(y) ^ SIGN));
}

/* ---- Products and quotients ---- */

EDGEC_INLINE float edgec_mul_parts(uint32_t sign, edgec_parts x, edgec_parts y) {
    const uint64_t product = (uint64_t)(x.significand << (31u - TOP)) * y.significand;
    edgec_parts z = {(uint32_t)(product >> 32) | ((uint32_t)product != 0), x.exponent + y.exponent - 126};
    if (!(z.significand >> TOP)) {
        z.significand <<= 1;
        z.exponent--;
    }
    return edgec_rounded(sign, z);
}

EDGEC_APART float edgec_mul_special(uint32_t a, uint32_t b) {
    const uint32_t sign = (a ^ b) & SIGN, u = a << 1, v = b << 1;
    if (u >= INFINITE << 1 || v >= INFINITE << 1) {
        return edgec_float(edgec_is_nan(a) || edgec_is_nan(b) || u == 0 || v == 0 ? NAN_BITS
                                                                                  : sign | INFINITE);
    }
    if (u == 0 || v == 0) {
        return edgec_float(sign);
    }
    return edgec_mul_parts(sign, edgec_parts_of(a), edgec_parts_of(b));
}

float __mulsf3(float x, float y) {
    const uint32_t a = edgec_bits(x), b = edgec_bits(y);
    const uint32_t u = edgec_exponent(a), v = edgec_exponent(b);
    if (u - 1u >= 254u || v - 1u >= 254u) {
        return edgec_mul_special(a, b);
    }
    return edgec_mul_parts((a ^ b) & SIGN, (edgec_parts){edgec_significand(a), (int32_t)u},
                           (edgec_parts){edgec_significand(b), (int32_t)v});
}

float __divsf3(float x, float y) {
    const uint32_t a = edgec_bits(x), b = edgec_bits(y), sign = (a ^ b) & SIGN, u = a << 1, v = b << 1;
    if (u >= INFINITE << 1 || v >= INFINITE << 1) {
        if (edgec_is_nan(a) || edgec_is_nan(b) || (u == v)) {
            return edgec_float(NAN_BITS);
        }
        return edgec_float(u > v ? sign | INFINITE : sign);
    }
    if (u == 0 || v == 0) {
        return edgec_float(u == v ? NAN_BITS : u ? sign | INFINITE : sign);
    }
    const edgec_parts n = edgec_parts_of(a), d = edgec_parts_of(b);
    /* 28 bits of the quotient of 24-bit numbers: 9, 8, 8 and 3 at a time, as their remainders have room for 8 more. */
    const uint32_t divisor = d.significand >> 3;
    uint32_t rest = n.significand << 5, quotient = rest / divisor;
    rest = (rest - quotient * divisor) << 8;
    uint32_t digits = rest / divisor;
    quotient = quotient << 8 | digits;
    rest = (rest - digits * divisor) << 8;
    digits = rest / divisor;
    quotient = quotient << 8 | digits;
    rest = (rest - digits * divisor) << 3;
    digits = rest / divisor;
    quotient = quotient << 3 | digits | (rest != digits * divisor);
    edgec_parts z = {quotient, n.exponent - d.exponent + 126};
    if (quotient >> (TOP + 1u)) {
        z.significand = quotient >> 1 | (quotient & 1u);
        z.exponent++;
    }
    return edgec_rounded(sign, z);
}

/* ---- Integers ---- */

EDGEC_INLINE float edgec_from_integer(uint32_t sign, uint32_t x) {
    if (x == 0) {
        return 0.0f;
    }
    if (x >> 24) {
        edgec_parts z = {x, 127 + (int32_t)TOP};
        while (z.significand >> (TOP + 1u)) {
            z.significand = z.significand >> 1 | (z.significand & 1u);
            z.exponent++;
        }
        return edgec_rounded(sign, edgec_normal(z));
    }
    uint32_t exponent = 127u + 23u - 1u; /* exact; the highest bit adds 1 */
    if (!(x >> 16)) {
        x <<= 8;
        exponent -= 8u;
    }
    if (!(x >> 16)) {
        x <<= 8;
        exponent -= 8u;
    }
    if (!(x >> 20)) {
        x <<= 4;
        exponent -= 4u;
    }
    while (!(x >> 23)) {
        x <<= 1;
        exponent--;
    }
    return edgec_float(sign + (exponent << 23) + x);
}

float __floatsisf(int32_t x) {
    return edgec_from_integer((uint32_t)x & SIGN, x < 0 ? 0u - (uint32_t)x : (uint32_t)x);
}

float __floatunsisf(uint32_t x) {
    return edgec_from_integer(0, x);
}

/* ---- Comparisons: the sign of x - y, or `otherwise` where one of them is NaN ---- */

EDGEC_INLINE int32_t edgec_compare(float x, float y, int32_t otherwise) {
    if (__unordsf2(x, y)) {
        return otherwise;
    }
    int32_t a = (int32_t)edgec_bits(x), b = (int32_t)edgec_bits(y);
    a = a < 0 ? (int32_t)(SIGN - (uint32_t)a) : a;
    b = b < 0 ? (int32_t)(SIGN - (uint32_t)b) : b;
    return (a > b) - (a < b);
}

int32_t __unordsf2(float x, float y) {
    return edgec_is_nan(edgec_bits(x)) || edgec_is_nan(edgec_bits(y));
}

int32_t __ltsf2(float x, float y) {
    return edgec_compare(x, y, 1);
}

int32_t __lesf2(float x, float y) {
    return edgec_compare(x, y, 1);
}

int32_t __eqsf2(float x, float y) {
    return edgec_compare(x, y, 1);
}

int32_t __nesf2(float x, float y) {
    return edgec_compare(x, y, 1);
}

int32_t __gtsf2(float x, float y) {
    return edgec_compare(x, y, -1);
}

int32_t __gesf2(float x, float y) {
    return edgec_compare(x, y, -1);
}

#endif
