/* Rows of heads of 4 elements for cores with XpulpV2: a head is in registers from where it is loaded to its bytes.
 *
 * Heads that small are many, and what each costs besides its elements, the scale and its reciprocal, is most of the work.
 * Two cores share a float unit, so other instructions lie between those of floats as far as there are any.
 */
#ifndef EDGEC_ROPE_APPEND_FOURS_XPULPV2_H
#define EDGEC_ROPE_APPEND_FOURS_XPULPV2_H

#include "edgec_kv_xpulpv2.h"

/* Cosines and sines of the two angles of a row. */
typedef struct {
    float c0, s0, c1, s1;
} edgec_angles;

EDGEC_INLINE edgec_angles edgec_angles_of(const int16_t *table, float unit) {
    return (edgec_angles){(float)table[0] * unit, (float)table[2] * unit, (float)table[1] * unit,
                          (float)table[3] * unit};
}

#if defined(EDGEC_PULP_FLOAT)
/* clang-format off */
/* x [4] rotated, in %[a] to %[d], and to y, which may be x: 20 instructions. */
#define EDGEC_ROTATE_FOUR(x, y)               \
    EDGEC_P_LW("%[a]", "4", x)                \
    EDGEC_P_LW("%[b]", "4", x)                \
    EDGEC_P_LW("%[c]", "4", x)                \
    "fmul.s %[t], %[a], %[s0]\n\t"            \
    EDGEC_P_LW("%[d]", "4", x)                \
    "fmul.s %[u], %[c], %[s0]\n\t"            \
    "fmul.s %[a], %[a], %[c0]\n\t"            \
    "fmul.s %[c], %[c], %[c0]\n\t"            \
    "fmul.s %[v], %[d], %[s1]\n\t"            \
    "fsub.s %[a], %[a], %[u]\n\t"             \
    "fmul.s %[u], %[b], %[s1]\n\t"            \
    "fadd.s %[c], %[c], %[t]\n\t"             \
    "fmul.s %[b], %[b], %[c1]\n\t"            \
    "sw %[c], 8(" y ")\n\t"                   \
    "fmul.s %[d], %[d], %[c1]\n\t"            \
    EDGEC_P_SW("%[a]", "4", y)                \
    "fsub.s %[b], %[b], %[v]\n\t"             \
    "fadd.s %[d], %[d], %[u]\n\t"             \
    EDGEC_P_SW("%[b]", "8", y)                \
    EDGEC_P_SW("%[d]", "4", y)
/* %[a] to %[d] times %[v] rounded, to q. 11 instructions. */
#define EDGEC_FOUR_OF                                                        \
    "fmul.s %[a], %[a], %[v]\n\t"                                            \
    "fmul.s %[b], %[b], %[v]\n\t"                                            \
    "fadd.s %[a], %[a], %[magic]\n\t"                                        \
    "fmul.s %[c], %[c], %[v]\n\t"                                            \
    "fadd.s %[b], %[b], %[magic]\n\t"                                        \
    "fmul.s %[d], %[d], %[v]\n\t"                                            \
    "fadd.s %[c], %[c], %[magic]\n\t"                                        \
    EDGEC_PV_PACKLO_B("%[a]", "%[b]", "%[a]")                                \
    "fadd.s %[d], %[d], %[magic]\n\t"                                        \
    EDGEC_PV_PACKHI_B("%[a]", "%[d]", "%[c]")                                \
    EDGEC_P_SW("%[a]", "4", "%[q]")
/* %[a] to %[d] quantised to q [4], and their scale, as in edgec_kv_fours: 36 instructions. */
#define EDGEC_KV_FOUR                                                        \
    "slli %[t], %[a], 1\n\t"                                                 \
    "slli %[u], %[b], 1\n\t"                                                 \
    "slli %[v], %[c], 1\n\t"                                                 \
    EDGEC_P_MAXU("%[t]", "%[t]", "%[u]")                                     \
    "slli %[u], %[d], 1\n\t"                                                 \
    EDGEC_P_MAXU("%[t]", "%[t]", "%[v]")                                     \
    EDGEC_P_MAXU("%[t]", "%[t]", "%[u]")                                     \
    "srli %[t], %[t], 1\n\t"                                                 \
    "fmul.s %[t], %[t], %[part]\n\t"                                         \
    EDGEC_P_EXTRACTU("%[u]", "%[t]", "0", "13")                              \
    "add %[v], %[t], %[least]\n\t"                                           \
    "add %[t], %[t], %[half]\n\t"                                            \
    EDGEC_P_MAXU("%[worst]", "%[worst]", "%[v]")                             \
    "add %[t], %[t], %[u]\n\t"                                               \
    "and %[u], %[t], %[mask]\n\t"                                            \
    "sub %[v], %[guess], %[u]\n\t"                                           \
    "fnmsub.s %[w], %[u], %[v], %[one]\n\t"                                  \
    "srli %[t], %[t], 13\n\t"                                                \
    "fmadd.s %[w], %[w], %[w], %[w]\n\t"                                     \
    "add %[t], %[t], %[bias]\n\t"                                            \
    "fmadd.s %[v], %[v], %[w], %[v]\n\t"                                     \
    EDGEC_P_SH("%[t]", "2", "%[scale]")                                      \
    "fnmsub.s %[w], %[u], %[v], %[one]\n\t"                                  \
    "fmadd.s %[w], %[w], %[w], %[w]\n\t"                                     \
    "fmadd.s %[v], %[v], %[w], %[v]\n\t"                                     \
    EDGEC_FOUR_OF
/* The same of queries, whose scales are floats: the quotient of 127 as in edgec_quotient. 33 instructions. */
#define EDGEC_QUERY_FOUR                                                     \
    "slli %[t], %[a], 1\n\t"                                                 \
    "slli %[u], %[b], 1\n\t"                                                 \
    "slli %[v], %[c], 1\n\t"                                                 \
    EDGEC_P_MAXU("%[t]", "%[t]", "%[u]")                                     \
    "slli %[u], %[d], 1\n\t"                                                 \
    EDGEC_P_MAXU("%[t]", "%[t]", "%[v]")                                     \
    EDGEC_P_MAXU("%[t]", "%[t]", "%[u]")                                     \
    "srli %[t], %[t], 1\n\t"                                                 \
    "sub %[v], %[guess], %[t]\n\t"                                           \
    "fnmsub.s %[w], %[t], %[v], %[one]\n\t"                                  \
    "add %[u], %[t], %[least]\n\t"                                           \
    "fmadd.s %[w], %[w], %[w], %[w]\n\t"                                     \
    EDGEC_P_MAXU("%[worst]", "%[worst]", "%[u]")                             \
    "fmadd.s %[v], %[v], %[w], %[v]\n\t"                                     \
    "fmul.s %[u], %[t], %[part]\n\t"                                         \
    "fnmsub.s %[w], %[t], %[v], %[one]\n\t"                                  \
    EDGEC_P_SW("%[u]", "4", "%[scale]")                                      \
    "fmadd.s %[w], %[w], %[w], %[w]\n\t"                                     \
    "fmadd.s %[v], %[v], %[w], %[v]\n\t"                                     \
    "fmul.s %[w], %[n], %[v]\n\t"                                            \
    "fnmsub.s %[u], %[t], %[w], %[n]\n\t"                                    \
    "fmadd.s %[v], %[u], %[v], %[w]\n\t"                                     \
    EDGEC_FOUR_OF
/* What it takes: 1/127, less the least and the largest scale, half a unit of binary16's last place, its sign and exponent
 * and mantissa in a binary32, the lower exponent there, and what the reciprocal and the rounding take. */
#define EDGEC_KV_FOUR_IN                                                                                     \
    [part] "r"(EDGEC_ONE_127TH), [least] "r"(0u - EDGEC_LEAST_SCALE), [half] "r"(0xFFFu), [mask] "r"(0xFFFFE000u), \
    [bias] "r"(0u - (112u << 10)), [guess] "r"(EDGEC_RECIPROCAL_GUESS), [one] "r"(1.0f), [magic] "r"(EDGEC_MAGIC_BITS)
/* clang-format on */
#endif

/* count heads of queries x [count][4] rotated where they are, and quantised as edgec_queries does, if all of them are in
 * edgec_quotient's range; else returns 1, and what it wrote to q and scale is void. */
EDGEC_INLINE uint32_t edgec_queries_fours(float *x, int8_t *q, float *scale, uint32_t count,
                                          edgec_angles of) {
#if defined(EDGEC_PULP_FLOAT)
    const float *from = x;
    uint32_t worst = 0, a, b, c, d, t, u, v, w;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[count]", "53", EDGEC_ROTATE_FOUR("%[from]", "%[x]") EDGEC_QUERY_FOUR)
        : [from] "+r"(from), [x] "+r"(x), [q] "+r"(q), [scale] "+r"(scale), [worst] "+r"(worst), [a] "=&r"(a),
          [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [t] "=&r"(t), [u] "=&r"(u), [v] "=&r"(v), [w] "=&r"(w)
        : [count] "r"(count), [c0] "r"(of.c0), [s0] "r"(of.s0), [c1] "r"(of.c1), [s1] "r"(of.s1),
          [part] "r"(EDGEC_ONE_127TH), [least] "r"(0u - EDGEC_QUOTIENT_LEAST), [guess] "r"(EDGEC_QUOTIENT_GUESS),
          [one] "r"(1.0f), [n] "r"(127.0f), [magic] "r"(EDGEC_MAGIC_BITS)
        : "memory");
    /* clang-format on */
    return worst >= EDGEC_QUOTIENT_RANGE;
#else
    edgec_rotate(x, x, count, 8, 16, of.c0, of.s0);
    edgec_rotate(x + 1, x + 1, count, 8, 16, of.c1, of.s1);
    edgec_queries(x, q, scale, count, 4);
    return 0;
#endif
}

/* count heads of keys x [count][4] rotated where they are, and quantised as edgec_kv_fours does; 1 as there. */
EDGEC_INLINE uint32_t edgec_keys_fours(float *x, int8_t *q, uint16_t *scale, uint32_t count,
                                       edgec_angles of) {
#if defined(EDGEC_PULP_FLOAT)
    const float *from = x;
    uint32_t worst = 0, a, b, c, d, t, u, v, w;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[count]", "56", EDGEC_ROTATE_FOUR("%[from]", "%[x]") EDGEC_KV_FOUR)
        : [from] "+r"(from), [x] "+r"(x), [q] "+r"(q), [scale] "+r"(scale), [worst] "+r"(worst), [a] "=&r"(a),
          [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [t] "=&r"(t), [u] "=&r"(u), [v] "=&r"(v), [w] "=&r"(w)
        : [count] "r"(count), [c0] "r"(of.c0), [s0] "r"(of.s0), [c1] "r"(of.c1), [s1] "r"(of.s1), EDGEC_KV_FOUR_IN
        : "memory");
    /* clang-format on */
    return worst >= EDGEC_SCALES;
#else
    edgec_rotate(x, x, count, 8, 16, of.c0, of.s0);
    edgec_rotate(x + 1, x + 1, count, 8, 16, of.c1, of.s1);
    return edgec_kv_fours(x, q, scale, count, 4);
#endif
}

/* The same of values, which are not rotated. */
EDGEC_INLINE uint32_t edgec_values_fours(const float *x, int8_t *q, uint16_t *scale, uint32_t count) {
#if defined(EDGEC_PULP_FLOAT)
    uint32_t worst = 0, a, b, c, d, t, u, v, w;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[count]", "40",
            EDGEC_P_LW("%[a]", "4", "%[x]")
            EDGEC_P_LW("%[b]", "4", "%[x]")
            EDGEC_P_LW("%[c]", "4", "%[x]")
            EDGEC_P_LW("%[d]", "4", "%[x]")
            EDGEC_KV_FOUR)
        : [x] "+r"(x), [q] "+r"(q), [scale] "+r"(scale), [worst] "+r"(worst), [a] "=&r"(a),
          [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [t] "=&r"(t), [u] "=&r"(u), [v] "=&r"(v), [w] "=&r"(w)
        : [count] "r"(count), EDGEC_KV_FOUR_IN
        : "memory");
    /* clang-format on */
    return worst >= EDGEC_SCALES;
#else
    return edgec_kv_fours(x, q, scale, count, 4);
#endif
}

#endif
