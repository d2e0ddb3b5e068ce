/* Four rows or heads with the same keys and values, of heads of 4 elements, for cores with XpulpV2: what is loaded of a
 * key and of its scale serves four scores, and a tile of values is transposed once for all four. Instructions for 4
 * products, of one row and of four:
 *
 *     scores  9  6.75        values  4.75  2.13
 *
 * Both loops take every register, so what they need is on the stack, and an operand of the asm block in memory.
 */
#ifndef EDGEC_QUAD_XPULPV2_H
#define EDGEC_QUAD_XPULPV2_H

#include "edgec_scores_xpulpv2.h"
#include "edgec_softmax_xpulpv2.h"
#include "edgec_values_xpulpv2.h"

/* Scores. What count, rest and top are at first is used up. */
typedef struct {
    const uint8_t *k; /* of the first position */
    uint32_t stride;  /* bytes from position to position */
    const uint16_t *k_scale;
    uint32_t step;  /* bytes from position to position */
    float *s;       /* of the first position and row */
    uint32_t lds;   /* bytes from row to row */
    uint32_t count; /* positions that all rows see, at least 1 */
    uint32_t rest;  /* and those behind them */
    uint32_t q[4];  /* of each row */
    float scale[4]; /* of each row, times 2^112 */
    /* [8], of which 4 become the largest of `count` scores. Where one is negative its row has no positive score, and it is
     * the smallest one. */
    float *top;
} edgec_quad_scores;

/* Sums of p times v, over whole tiles of 4 positions and then, if rest is not 0, over one with values of its own. What
 * rest is at first is used up. */
typedef struct {
    const uint8_t *p; /* [tiles + rest][4 rows][4 positions] */
    const int8_t *v;  /* [4 * tiles][stride] of which [4] is read */
    uint32_t stride;
    uint32_t tiles;     /* at least 1 */
    uint32_t rest;      /* 0 or 1 */
    const int8_t *last; /* [4 positions][4], of rest */
    int32_t acc[16];    /* [4 rows][4] */
} edgec_quad_values;

#if defined(EDGEC_PULP_FLOAT)

_Static_assert(offsetof(edgec_quad_scores, k_scale) == 8 && offsetof(edgec_quad_scores, s) == 16 &&
                   offsetof(edgec_quad_scores, rest) == 28 && offsetof(edgec_quad_scores, q) == 32 &&
                   offsetof(edgec_quad_scores, scale) == 48 && offsetof(edgec_quad_values, stride) == 8 &&
                   offsetof(edgec_quad_values, acc) == 24,
               "as the loops below read them");

/* clang-format off */
#define T    EDGEC_ASM_T
#define GET  EDGEC_ASM_GET
#define PUT  EDGEC_ASM_PUT
#define ZERO EDGEC_ASM_ZERO
#define MIX  EDGEC_MIX

EDGEC_INLINE void edgec_quad_score(edgec_quad_scores *of) {
    float *top = of->top;
    uint32_t k, stride, ks, step, s, lds, back, q0, q1, q2, q3, c0, c1, c2, c3, t0, t1, t2, t3, x, h, a, b, f, g;
    __asm__ volatile(
        GET(k, "0") GET(stride, "4") GET(ks, "8") GET(step, "12") GET(s, "16") GET(lds, "20") GET(x, "24")
        GET(q0, "32") GET(q1, "36") GET(q2, "40") GET(q3, "44")
        GET(c0, "48") GET(c1, "52") GET(c2, "56") GET(c3, "60")
        "lui %[t0], 0x80000\n\tlui %[t1], 0x80000\n\tlui %[t2], 0x80000\n\tlui %[t3], 0x80000\n\t"
        "slli %[back], %[lds], 2\n\t"
        "sub %[back], %[lds], %[back]\n\t"
        "addi %[back], %[back], 4\n\t" /* from the fourth row to the first one's next position */
        /* A float instruction seldom follows another one: two cores share the unit that executes them. So the largest score
         * is found as an integer, which it is too unless all are negative. */
        ".balign 4\n8:\n\t"
        EDGEC_HWLOOP_INNER("0", "%[x]", "27",
            EDGEC_P_LW_R("%[x]", "%[stride]", "%[k]")
            EDGEC_P_LHU_R("%[h]", "%[step]", "%[ks]")
            EDGEC_PV_DOTSP_B("%[a]", "%[q0]", "%[x]")
            "slli %[h], %[h], 13\n\t"
            "fcvt.s.w %[a], %[a]\n\t"
            EDGEC_PV_DOTSP_B("%[b]", "%[q1]", "%[x]")
            "fmul.s %[f], %[h], %[c0]\n\t"
            EDGEC_PV_DOTSP_B("%[g]", "%[q2]", "%[x]")
            "fcvt.s.w %[b], %[b]\n\t"
            EDGEC_PV_DOTSP_B("%[x]", "%[q3]", "%[x]")
            "fmul.s %[a], %[a], %[f]\n\t"
            EDGEC_P_MAX("%[t0]", "%[t0]", "%[a]")
            "fmul.s %[f], %[h], %[c1]\n\t"
            EDGEC_P_SW_R("%[a]", "%[lds]", "%[s]")
            "fmul.s %[b], %[b], %[f]\n\t"
            EDGEC_P_MAX("%[t1]", "%[t1]", "%[b]")
            "fcvt.s.w %[g], %[g]\n\t"
            EDGEC_P_SW_R("%[b]", "%[lds]", "%[s]")
            "fmul.s %[f], %[h], %[c2]\n\t"
            "fmul.s %[g], %[g], %[f]\n\t"
            EDGEC_P_SW_R("%[g]", "%[lds]", "%[s]")
            "fcvt.s.w %[x], %[x]\n\t"
            EDGEC_P_MAX("%[t2]", "%[t2]", "%[g]")
            "fmul.s %[f], %[h], %[c3]\n\t"
            "fmul.s %[x], %[x], %[f]\n\t"
            EDGEC_P_SW_R("%[x]", "%[back]", "%[s]")
            EDGEC_P_MAX("%[t3]", "%[t3]", "%[x]"))
        GET(x, "28")
        "sw %[t0], 0(%[top])\n\tsw %[t1], 4(%[top])\n\tsw %[t2], 8(%[top])\n\tsw %[t3], 12(%[top])\n\t"
        "addi %[top], %[top], 16\n\t"
        "sw zero, 28 + %[of]\n\t"
        "bnez %[x], 8b\n\t"
        : T(k), T(stride), T(ks), T(step), T(s), T(lds), T(back), T(q0), T(q1), T(q2), T(q3), T(c0), T(c1), T(c2), T(c3),
          T(t0), T(t1), T(t2), T(t3), T(x), T(h), T(a), T(b), T(f), T(g), [top] "+r"(top), [of] "+m"(*of)
        :
        : "memory");
}

#define LOAD(w) EDGEC_P_LW("%[" #w "]", "4", "%[p]")

EDGEC_INLINE void edgec_quad_mix(edgec_quad_values *of) {
    uint32_t a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3, r0, r1, r2, r3, x, y, high, upper, odd;
    uint32_t p, v, stride;
    __asm__ volatile(
        GET(p, "0") GET(v, "4") GET(stride, "8") GET(x, "12")
        ZERO(a0) ZERO(a1) ZERO(a2) ZERO(a3) ZERO(b0) ZERO(b1) ZERO(b2) ZERO(b3)
        ZERO(c0) ZERO(c1) ZERO(c2) ZERO(c3) ZERO(d0) ZERO(d1) ZERO(d2) ZERO(d3)
        EDGEC_TRANSPOSE_MASKS
        ".balign 4\n8:\n\t"
        EDGEC_HWLOOP_INNER("0", "%[x]", "33",
            EDGEC_TRANSPOSE
            LOAD(x) LOAD(r1) MIX(x, a0, a1, a2, a3) LOAD(x) MIX(r1, b0, b1, b2, b3) LOAD(r1)
            MIX(x, c0, c1, c2, c3) MIX(r1, d0, d1, d2, d3))
        GET(x, "16") GET(v, "20")
        "li %[stride], 4\n\t"
        "sw zero, 16 + %[of]\n\t"
        "bnez %[x], 8b\n\t"
        PUT(a0, "24") PUT(a1, "28") PUT(a2, "32") PUT(a3, "36") PUT(b0, "40") PUT(b1, "44") PUT(b2, "48") PUT(b3, "52")
        PUT(c0, "56") PUT(c1, "60") PUT(c2, "64") PUT(c3, "68") PUT(d0, "72") PUT(d1, "76") PUT(d2, "80") PUT(d3, "84")
        : T(a0), T(a1), T(a2), T(a3), T(b0), T(b1), T(b2), T(b3), T(c0), T(c1), T(c2), T(c3), T(d0), T(d1), T(d2), T(d3),
          T(r0), T(r1), T(r2), T(r3), T(x), T(y), T(high), T(upper), T(odd), T(p), T(v), T(stride), [of] "+m"(*of)
        :
        : "memory");
}
/* clang-format on */

#undef T
#undef GET
#undef PUT
#undef ZERO
#undef LOAD
#undef MIX

#else

EDGEC_INLINE void edgec_quad_score(edgec_quad_scores *of) {
    for (uint32_t row = 0; row < 4u; row++) {
        int32_t top = INT32_MIN;
        for (uint32_t t = 0; t < of->count + of->rest; t++) {
            const uint32_t key = edgec_load_word(of->k + (size_t)t * of->stride);
            const float scale = edgec_half_low(of->k_scale[t * (of->step / 2u)]) * of->scale[row];
            const float s = (float)edgec_sdotsp_b(0, of->q[row], key) * scale;
            of->s[row * (of->lds / 4u) + t] = s;
            if (t < of->count) {
                top = edgec_p_max(top, (int32_t)edgec_bits(s));
            }
        }
        of->top[row] = edgec_float((uint32_t)top);
    }
}

EDGEC_INLINE void edgec_quad_mix(edgec_quad_values *of) {
    memset(of->acc, 0, sizeof(of->acc));
    for (uint32_t tile = 0; tile < of->tiles + of->rest; tile++) {
        const uint32_t stride = tile < of->tiles ? of->stride : 4u;
        const int8_t *v = tile < of->tiles ? of->v + (size_t)tile * 4u * stride : of->last;
        for (uint32_t i = 0; i < 64u; i++) { /* a product of an element and a row's weight */
            const uint32_t t = i % 4u, row = i / 4u % 4u, e = i / 16u;
            of->acc[4u * row + e] += of->p[tile * 16u + 4u * row + t] * v[(size_t)t * stride + e];
        }
    }
}

#endif

/* acc = the sums over t of p[t] * v[t] of four rows. p: [ceil(count / 4)][4][4], 0 behind the last position. */
EDGEC_INLINE void edgec_mix_quad(edgec_quad_values *of, const uint8_t *p, const edgec_values *values) {
    const uint32_t rest = values->count % 4u, whole = values->count - rest;
    uint32_t words[4];
    of->p = p;
    of->v = values->v;
    of->stride = values->stride;
    of->tiles = whole / 4u;
    of->rest = rest > 0;
    of->last = (const int8_t *)words;
    if (EDGEC_SELDOM(rest)) { /* the last tile in whole: there may be nothing behind the values */
        EDGEC_UNROLL_1
        for (uint32_t t = 0; t < 4u; t++) {
            words[t] = t < rest ? edgec_load_word(values->v + (size_t)(whole + t) * values->stride) : 0u;
        }
        if (whole == 0) {
            of->v = of->last;
            of->stride = 4;
            of->tiles = 1;
            of->rest = 0;
        }
    }
    edgec_quad_mix(of);
}

/* y [4] of `lanes` rows and heads: float(acc) times edgec_values_factor(most, total). total, most: [lanes], of which no total
 * is 0; acc: [lanes][4]; unit: [lanes], which of y [units][4]. */
EDGEC_INLINE void edgec_finish_quad(const uint32_t *total, const float *most, const int32_t *acc,
                                    const uint32_t *unit, float *y, uint32_t lanes) {
#if defined(EDGEC_PULP_FLOAT)
    uint32_t a, b, c, d, t, r, e, f, m, at;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[lanes]", "35",
            EDGEC_P_LW("%[t]", "4", "%[total]")
            EDGEC_P_LW("%[a]", "4", "%[acc]")
            "fcvt.s.w %[t], %[t]\n\t"
            EDGEC_P_LW("%[b]", "4", "%[acc]")
            "sub %[r], %[guess], %[t]\n\t" /* edgec_quotient */
            "fnmsub.s %[e], %[t], %[r], %[one]\n\t"
            EDGEC_P_LW("%[c]", "4", "%[acc]")
            "fmadd.s %[e], %[e], %[e], %[e]\n\t"
            EDGEC_P_LW("%[d]", "4", "%[acc]")
            "fmadd.s %[r], %[r], %[e], %[r]\n\t"
            EDGEC_P_LW("%[at]", "4", "%[unit]")
            "fnmsub.s %[e], %[t], %[r], %[one]\n\t"
            EDGEC_P_LW("%[m]", "4", "%[most]")
            "fmadd.s %[e], %[e], %[e], %[e]\n\t"
            "slli %[at], %[at], 4\n\t"
            "fmadd.s %[r], %[r], %[e], %[r]\n\t"
            "fcvt.s.w %[a], %[a]\n\t"
            "fmul.s %[e], %[n], %[r]\n\t"
            "fcvt.s.w %[b], %[b]\n\t"
            "fnmsub.s %[f], %[t], %[e], %[n]\n\t"
            "fcvt.s.w %[c], %[c]\n\t"
            "fmadd.s %[f], %[f], %[r], %[e]\n\t"
            "add %[at], %[at], %[y]\n\t"
            "fmul.s %[f], %[m], %[f]\n\t"
            "fcvt.s.w %[d], %[d]\n\t"
            "fmul.s %[f], %[f], %[part]\n\t"
            "nop\n\t"
            "fmul.s %[a], %[a], %[f]\n\t"
            "fmul.s %[b], %[b], %[f]\n\t"
            "sw %[a], 0(%[at])\n\t"
            "fmul.s %[c], %[c], %[f]\n\t"
            "sw %[b], 4(%[at])\n\t"
            "fmul.s %[d], %[d], %[f]\n\t"
            "sw %[c], 8(%[at])\n\t"
            "sw %[d], 12(%[at])\n\t")
        : [total] "+r"(total), [most] "+r"(most), [acc] "+r"(acc), [unit] "+r"(unit), [a] "=&r"(a), [b] "=&r"(b),
          [c] "=&r"(c), [d] "=&r"(d), [t] "=&r"(t), [r] "=&r"(r), [e] "=&r"(e), [f] "=&r"(f), [m] "=&r"(m), [at] "=&r"(at)
        : [lanes] "r"(lanes), [y] "r"(y), [n] "r"(255.0f), [one] "r"(1.0f), [part] "r"(EDGEC_ONE_255TH),
          [guess] "r"(EDGEC_QUOTIENT_GUESS)
        : "memory");
    /* clang-format on */
#else
    for (; lanes > 0; lanes--) {
        edgec_finish_four(acc, y + 4u * *unit++, edgec_values_factor(*most++, (float)(int32_t)*total++));
        acc += 4;
    }
#endif
}

#endif
