/* edgec_rows.h for cores with XpulpV2: a group's quantisation, and the split of units without a division.
 *
 * Loops are hardware loops in asm blocks where floats are in the integer registers (zfinx), and short: code that runs
 * once a token comes from slow memory, where an instruction costs more than its execution. The plain C beside them is
 * for floats in registers of their own, and for hosts.
 */
#ifndef EDGEC_ROWS_XPULPV2_H
#define EDGEC_ROWS_XPULPV2_H

#include "edgec_rows.h"
#include "edgec_xpulpv2.h"

#if defined(EDGEC_XPULPV2) && defined(__riscv_zfinx)
#define EDGEC_PULP_FLOAT 1
#endif

/* A loop that runs once or twice should not prepare for many rounds: what its rounds derive from `a` is derived anew. */
#if defined(__GNUC__) && !defined(EDGEC_FIXED)
#define EDGEC_ANEW(a) __asm__("" : "+r"(a))
#else
#define EDGEC_ANEW(a) ((void)0)
#endif

/* A loop whose last round goes by x stays one loop: compilers else set that round apart, and a second copy of the body is
 * fetched for it. */
#if defined(__GNUC__)
#define EDGEC_ONE_LOOP(x) __asm__("" : "+r"(x))
#else
#define EDGEC_ONE_LOOP(x) ((void)0)
#endif

/* This core's share of `total` units, as edgec_split, but the last cores may have less. */
EDGEC_INLINE edgec_range edgec_share(uint32_t total, uint32_t core, uint32_t n_cores) {
    uint32_t share = total + n_cores - 1u;
#if defined(EDGEC_FIXED) /* a number that is known as a rule */
    share /= n_cores;
#else
    if (EDGEC_SELDOM(n_cores & (n_cores - 1u))) {
        share /= n_cores;
    } else { /* a division takes 35 cycles */
        share >>= edgec_p_ff1(n_cores);
    }
#endif
    const uint32_t begin = edgec_p_minu(core * share, total);
    return (edgec_range){begin, edgec_p_minu(begin + share, total)};
}

/* ceil(k / group_size): few as a rule, and a division takes 35 cycles. */
EDGEC_INLINE uint32_t edgec_groups(uint32_t k, uint32_t group_size) {
    if (EDGEC_SELDOM(k > 16u * group_size)) {
        return (k + group_size - 1u) / group_size;
    }
    uint32_t groups = 1;
    EDGEC_UNROLL_1
    for (; k > group_size; k -= group_size) {
        groups++;
    }
    return groups;
}

/* n / d for n = 127 or 255 and d > 0, or n = 1 and d a normal binary16. The cluster's cores share one divider, where eight
 * at once wait for a hundred cycles; this takes fused multiply-adds: a guess for 1 / d, two steps of third order, the
 * quotient, and its remainder. For each n and each significand of d all bits are the division's, also where a multiply-add
 * is rounded twice, as in the public simulator (tests/kernels/test_division.py); a power of two changes nothing as long as
 * no step leaves the normal numbers.
 */
#define EDGEC_QUOTIENT_LEAST 0x10000000u /* bits of 2^-95 */
#define EDGEC_QUOTIENT_RANGE 0x60000000u /* and from there up to 2^97 */
#define EDGEC_QUOTIENT_GUESS 0x7EFD8000u /* less the bits of d: those of a guess for 1 / d */
EDGEC_INLINE float edgec_quotient(float n, float d) {
#if defined(EDGEC_PULP_FLOAT)
    if (!EDGEC_SELDOM(edgec_bits(d) - EDGEC_QUOTIENT_LEAST >= EDGEC_QUOTIENT_RANGE)) {
        float r, e;
        /* clang-format off */
        __asm__(
            "sub %[r], %[guess], %[d]\n\t"
            EDGEC_HWLOOP_I("0", "2", "3",
                "fnmsub.s %[e], %[d], %[r], %[one]\n\t"
                "fmadd.s %[e], %[e], %[e], %[e]\n\t"
                "fmadd.s %[r], %[r], %[e], %[r]\n\t")
            "fmul.s %[e], %[n], %[r]\n\t"
            "fnmsub.s %[n], %[d], %[e], %[n]\n\t"
            "fmadd.s %[n], %[n], %[r], %[e]\n\t"
            : [r] "=&r"(r), [e] "=&r"(e), [n] "+r"(n)
            : [d] "r"(d), [guess] "r"(EDGEC_QUOTIENT_GUESS), [one] "r"(1.0f));
        /* clang-format on */
        return n;
    }
#endif
    return n / d;
}

/* What elements of a group with this top are multiplied by. */
EDGEC_INLINE float edgec_top_inverse(float top) {
    return EDGEC_SELDOM(edgec_bits(top) == 0) ? 0.0f : edgec_quotient(127.0f, top);
}

#if defined(EDGEC_PULP_FLOAT)
/* `instruction` for each of `count` words from `from` on, at least one, in %[a]: what it takes into %[total]. A float
 * instruction right behind its load would wait. */
#define EDGEC_FOLD(instruction, total_, from, count_)                                                        \
    do {                                                                                                     \
        uint32_t word_;                                                                                      \
        __asm__ volatile(                                                                                    \
            EDGEC_HWLOOP("0", "%[count]", "3", EDGEC_P_LW("%[a]", "4", "%[at]") "nop\n\t" instruction)       \
            : [at] "+r"(from), [total] "+r"(total_), [a] "=&r"(word_)                                        \
            : [count] "r"(count_)                                                                            \
            : "memory");                                                                                     \
    } while (0)
#endif

/* The larger of max |x| over x [count] and `top`. */
EDGEC_INLINE float edgec_top(const float *x, uint32_t count, float top) {
    uint32_t doubled = edgec_bits(top) << 1; /* without the sign, numbers are in the order of their bits */
#if defined(EDGEC_PULP_FLOAT)
    if (!EDGEC_SELDOM(count < 2u)) {
        uint32_t pairs = count / 2u, a, b;
        /* clang-format off */
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[pairs]", "6",
                EDGEC_P_LW("%[a]", "4", "%[x]")
                EDGEC_P_LW("%[b]", "4", "%[x]")
                "slli %[a], %[a], 1\n\t"
                "slli %[b], %[b], 1\n\t"
                EDGEC_P_MAXU("%[top]", "%[top]", "%[a]")
                EDGEC_P_MAXU("%[top]", "%[top]", "%[b]"))
            : [x] "+r"(x), [top] "+r"(doubled), [a] "=&r"(a), [b] "=&r"(b)
            : [pairs] "r"(pairs)
            : "memory");
        /* clang-format on */
        count %= 2u;
    }
#endif
    EDGEC_UNROLL_1
    for (; EDGEC_SELDOM(count > 0); count--) {
        doubled = edgec_p_maxu(doubled, edgec_bits(*x++) << 1);
    }
    return edgec_float(doubled >> 1);
}

#if defined(EDGEC_PULP_FLOAT)
/* rint(x * inverse) of four numbers to q; %[a] has the four bytes. 15 instructions: between those of floats others, as far
 * as there are any, for two cores share a float unit. */
/* clang-format off */
#define EDGEC_FOUR_BYTES                       \
    EDGEC_P_LW("%[a]", "4", "%[x]")            \
    EDGEC_P_LW("%[b]", "4", "%[x]")            \
    "fmul.s %[a], %[a], %[inverse]\n\t"        \
    EDGEC_P_LW("%[c]", "4", "%[x]")            \
    "fmul.s %[b], %[b], %[inverse]\n\t"        \
    EDGEC_P_LW("%[d]", "4", "%[x]")            \
    "fadd.s %[a], %[a], %[magic]\n\t"          \
    "fmul.s %[c], %[c], %[inverse]\n\t"        \
    "fadd.s %[b], %[b], %[magic]\n\t"          \
    "fmul.s %[d], %[d], %[inverse]\n\t"        \
    EDGEC_PV_PACKLO_B("%[a]", "%[b]", "%[a]")  \
    "fadd.s %[c], %[c], %[magic]\n\t"          \
    "fadd.s %[d], %[d], %[magic]\n\t"          \
    EDGEC_PV_PACKHI_B("%[a]", "%[d]", "%[c]")  \
    EDGEC_P_SW("%[a]", "4", "%[q]")
/* clang-format on */
#endif

/* rint(x * inverse) of x [count] to q [count]; returns their sum. */
EDGEC_INLINE int32_t edgec_quantize_by(const float *x, int8_t *q, uint32_t count, float inverse) {
    int32_t sum = 0;
#if defined(EDGEC_PULP_FLOAT)
    if (!EDGEC_SELDOM(count < 4u)) {
        uint32_t fours = count / 4u, a, b, c, d, magic, ones;
        /* clang-format off */
        __asm__ volatile(
            "lui %[magic], %[magic_] >> 12\n\t"
            "li %[ones], 0x01010101\n\t"
            EDGEC_HWLOOP("0", "%[fours]", "16",
                EDGEC_FOUR_BYTES
                EDGEC_PV_SDOTSP_B("%[sum]", "%[a]", "%[ones]"))
            : [x] "+r"(x), [q] "+r"(q), [sum] "+r"(sum), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c),
              [d] "=&r"(d), [magic] "=&r"(magic), [ones] "=&r"(ones)
            : [fours] "r"(fours), [inverse] "r"(inverse), [magic_] "i"(EDGEC_MAGIC_BITS)
            : "memory");
        /* clang-format on */
        count %= 4u;
    }
#endif
    EDGEC_UNROLL_1
    for (; EDGEC_SELDOM(count > 0); count--) {
        const int8_t value = (int8_t)edgec_rint_i32(*x++ * inverse);
        *q++ = value;
        sum += value;
    }
    return sum;
}

/* edgec_quantize_below. */
EDGEC_INLINE float edgec_quantize_under(float top, const float *x, int8_t *q, uint32_t count, int32_t *sum) {
    const float inverse = edgec_bits(top) ? edgec_quotient(127.0f, top) : 0.0f;
    *sum = edgec_quantize_by(x, q, count, inverse);
    return top * EDGEC_ONE_127TH;
}

/* x [4] quantised to the bytes of a word: 127 / max |x| of each. scale: max |x| / 127 */
EDGEC_INLINE uint32_t edgec_quantize_four(const float *x, float *scale) {
    const float x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
    const uint32_t low = edgec_p_maxu(edgec_bits(x0) << 1, edgec_bits(x1) << 1); /* as edgec_top */
    const uint32_t high = edgec_p_maxu(edgec_bits(x2) << 1, edgec_bits(x3) << 1);
    const float top = edgec_float(edgec_p_maxu(low, high) >> 1);
    *scale = top * EDGEC_ONE_127TH;
#if defined(EDGEC_PULP_FLOAT)
    if (!EDGEC_SELDOM(edgec_bits(top) - EDGEC_QUOTIENT_LEAST >= EDGEC_QUOTIENT_RANGE)) {
        float r, e, f, a = x0, b = x1, c = x2, d = x3;
        /* clang-format off */
        __asm__( /* edgec_quotient, and what follows it */
            "sub %[r], %[guess], %[top]\n\t"
            "fnmsub.s %[e], %[top], %[r], %[one]\n\t"
            "fmadd.s %[e], %[e], %[e], %[e]\n\t"
            "fmadd.s %[r], %[r], %[e], %[r]\n\t"
            "fnmsub.s %[e], %[top], %[r], %[one]\n\t"
            "fmadd.s %[e], %[e], %[e], %[e]\n\t"
            "fmadd.s %[r], %[r], %[e], %[r]\n\t"
            "fmul.s %[e], %[n], %[r]\n\t"
            "fnmsub.s %[f], %[top], %[e], %[n]\n\t"
            "fmadd.s %[e], %[f], %[r], %[e]\n\t"
            "fmul.s %[a], %[a], %[e]\n\t"
            "fmul.s %[b], %[b], %[e]\n\t"
            "fadd.s %[a], %[a], %[magic]\n\t"
            "fmul.s %[c], %[c], %[e]\n\t"
            "fadd.s %[b], %[b], %[magic]\n\t"
            "fmul.s %[d], %[d], %[e]\n\t"
            "fadd.s %[c], %[c], %[magic]\n\t"
            EDGEC_PV_PACKLO_B("%[a]", "%[b]", "%[a]")
            "fadd.s %[d], %[d], %[magic]\n\t"
            EDGEC_PV_PACKHI_B("%[a]", "%[d]", "%[c]")
            : [a] "+&r"(a), [b] "+&r"(b), [c] "+&r"(c), [d] "+&r"(d), [r] "=&r"(r), [e] "=&r"(e), [f] "=&r"(f)
            : [top] "r"(top), [n] "r"(127.0f), [one] "r"(1.0f), [magic] "r"(EDGEC_MAGIC), [guess] "r"(EDGEC_QUOTIENT_GUESS));
        /* clang-format on */
        return edgec_bits(a);
    }
#endif
    const float inverse = edgec_bits(top) ? edgec_quotient(127.0f, top) : 0.0f;
    const uint32_t a = edgec_bits(x0 * inverse + EDGEC_MAGIC), b = edgec_bits(x1 * inverse + EDGEC_MAGIC);
    const uint32_t c = edgec_bits(x2 * inverse + EDGEC_MAGIC), d = edgec_bits(x3 * inverse + EDGEC_MAGIC);
    return (uint32_t)edgec_packhi_b(edgec_packlo_b(a, b, a), d, c);
}

/* edgec_sum_squares. */
EDGEC_INLINE float edgec_sum_squares_lanes(const float *x, uint32_t k) {
#if defined(EDGEC_PULP_FLOAT)
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f, s4 = 0.0f, s5 = 0.0f, s6 = 0.0f, s7 = 0.0f;
    if (k >= 8u) {
        uint32_t a, b;
        /* Two lanes. */
        /* clang-format off */
#define EDGEC_SQUARES(i, j)           \
    EDGEC_P_LW("%[a]", "4", "%[x]")   \
    EDGEC_P_LW("%[b]", "4", "%[x]")   \
    "fmul.s %[a], %[a], %[a]\n\t"     \
    "fmul.s %[b], %[b], %[b]\n\t"     \
    "fadd.s " i ", " i ", %[a]\n\t"   \
    "fadd.s " j ", " j ", %[b]\n\t"
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[eights]", "24",
                EDGEC_SQUARES("%[s0]", "%[s1]")
                EDGEC_SQUARES("%[s2]", "%[s3]")
                EDGEC_SQUARES("%[s4]", "%[s5]")
                EDGEC_SQUARES("%[s6]", "%[s7]"))
            : [x] "+r"(x), [s0] "+r"(s0), [s1] "+r"(s1), [s2] "+r"(s2), [s3] "+r"(s3), [s4] "+r"(s4),
              [s5] "+r"(s5), [s6] "+r"(s6), [s7] "+r"(s7), [a] "=&r"(a), [b] "=&r"(b)
            : [eights] "r"(k / 8u)
            : "memory");
        /* clang-format on */
#undef EDGEC_SQUARES
    }
    if (EDGEC_SELDOM(k % 8u)) {
        float lane[8] = {s0, s1, s2, s3, s4, s5, s6, s7};
        EDGEC_UNROLL_1
        for (uint32_t j = 0; j < k % 8u; j++) {
            lane[j] += x[j] * x[j];
        }
        s0 = lane[0], s1 = lane[1], s2 = lane[2], s3 = lane[3], s4 = lane[4], s5 = lane[5], s6 = lane[6];
    }
    return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7));
#else
    return edgec_sum_squares(x, k);
#endif
}

/* edgec_rsqrt */
EDGEC_INLINE float edgec_rsqrt_steps(float x) {
#if defined(EDGEC_PULP_FLOAT)
    float y = edgec_float(0x5F3759DFu - (edgec_bits(x) >> 1)), t;
    const float half = 0.5f * x;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP_I("0", "3", "4",
            "fmul.s %[t], %[half], %[y]\n\t"
            "fmul.s %[t], %[t], %[y]\n\t"
            "fsub.s %[t], %[c], %[t]\n\t"
            "fmul.s %[y], %[y], %[t]\n\t")
        : [y] "+r"(y), [t] "=&r"(t)
        : [half] "r"(half), [c] "r"(1.5f));
    /* clang-format on */
    return y;
#else
    return edgec_rsqrt(x);
#endif
}

/* A binary16 >= 0 as the float that its bits are when they are moved to where a binary32 has its exponent and mantissa:
 * the number times 2^-112. All is computed with such numbers, exact multiples, and 2^112 is multiplied once a head. */
#define EDGEC_UP       0x1p112f
/* Factors below this stay finite when they are multiplied by it. */
#define EDGEC_UP_LIMIT 0x1p15f

EDGEC_INLINE float edgec_half_low(uint16_t half) {
    return edgec_float((uint32_t)half << 13);
}

#endif
