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
    int32_t top
        [8]; /* the bits of the largest of `count` scores, negative where none is positive; the rest is of no use */
} edgec_quad_scores;

/* Sums of p times v, over whole tiles of 4 positions. */
typedef struct {
    const uint8_t *p; /* [tiles][4 rows][4 positions] */
    const int8_t *v;  /* [4 * tiles][stride] of which [4] is read */
    uint32_t stride;
    uint32_t tiles;  /* at least 1 */
    int32_t acc[16]; /* [4 rows][4]; what it is at first counts too */
} edgec_quad_values;

#if defined(EDGEC_PULP_FLOAT)

_Static_assert(offsetof(edgec_quad_scores, k_scale) == 8 && offsetof(edgec_quad_scores, s) == 16 &&
                   offsetof(edgec_quad_scores, rest) == 28 && offsetof(edgec_quad_scores, q) == 32 &&
                   offsetof(edgec_quad_scores, scale) == 48 && offsetof(edgec_quad_values, stride) == 8 &&
                   offsetof(edgec_quad_values, acc) == 16,
               "as the loops below read them");

/* clang-format off */
#define T(t)         [t] "=&r"(t)
#define GET(reg, at) "lw %[" #reg "], " at " + %[of]\n\t"
#define PUT(reg, at) "sw %[" #reg "], " at " + %[of]\n\t"
#define PUT0(at)     "sw zero, " at " + %[of]\n\t"

EDGEC_INLINE void edgec_quad_score(edgec_quad_scores *of) {
    int32_t *top = of->top;
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
#define MIX(w, a, b, c, e)                                \
    EDGEC_PV_SDOTUSP_B("%[" #a "]", "%[" #w "]", "%[r0]") \
    EDGEC_PV_SDOTUSP_B("%[" #b "]", "%[" #w "]", "%[y]")  \
    EDGEC_PV_SDOTUSP_B("%[" #c "]", "%[" #w "]", "%[r2]") \
    EDGEC_PV_SDOTUSP_B("%[" #e "]", "%[" #w "]", "%[r3]")

EDGEC_INLINE void edgec_quad_mix(edgec_quad_values *of) {
    uint32_t a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3, r0, r1, r2, r3, x, y, high, even, odd;
    uint32_t p, v, stride;
    __asm__ volatile(
        GET(p, "0") GET(v, "4") GET(stride, "8") GET(x, "12")
        GET(a0, "16") GET(a1, "20") GET(a2, "24") GET(a3, "28") GET(b0, "32") GET(b1, "36") GET(b2, "40") GET(b3, "44")
        GET(c0, "48") GET(c1, "52") GET(c2, "56") GET(c3, "60") GET(d0, "64") GET(d1, "68") GET(d2, "72") GET(d3, "76")
        EDGEC_TRANSPOSE_MASKS
        EDGEC_HWLOOP("0", "%[x]", "34",
            EDGEC_TRANSPOSE
            LOAD(x) LOAD(r1) MIX(x, a0, a1, a2, a3) LOAD(x) MIX(r1, b0, b1, b2, b3) LOAD(r1)
            MIX(x, c0, c1, c2, c3) MIX(r1, d0, d1, d2, d3))
        PUT(a0, "16") PUT(a1, "20") PUT(a2, "24") PUT(a3, "28") PUT(b0, "32") PUT(b1, "36") PUT(b2, "40") PUT(b3, "44")
        PUT(c0, "48") PUT(c1, "52") PUT(c2, "56") PUT(c3, "60") PUT(d0, "64") PUT(d1, "68") PUT(d2, "72") PUT(d3, "76")
        : T(a0), T(a1), T(a2), T(a3), T(b0), T(b1), T(b2), T(b3), T(c0), T(c1), T(c2), T(c3), T(d0), T(d1), T(d2), T(d3),
          T(r0), T(r1), T(r2), T(r3), T(x), T(y), T(high), T(even), T(odd), T(p), T(v), T(stride), [of] "+m"(*of)
        :
        : "memory");
}

EDGEC_INLINE void edgec_quad_clear(edgec_quad_values *of) {
    __asm__ volatile(
        PUT0("16") PUT0("20") PUT0("24") PUT0("28") PUT0("32") PUT0("36") PUT0("40") PUT0("44") PUT0("48") PUT0("52")
        PUT0("56") PUT0("60") PUT0("64") PUT0("68") PUT0("72") PUT0("76")
        : [of] "+m"(*of));
}
/* clang-format on */

#undef T
#undef GET
#undef PUT
#undef PUT0
#undef LOAD
#undef MIX

#else

EDGEC_INLINE void edgec_quad_score(edgec_quad_scores *of) {
    for (uint32_t row = 0; row < 4u; row++) {
        of->top[row] = INT32_MIN;
        for (uint32_t t = 0; t < of->count + of->rest; t++) {
            const uint32_t key = edgec_load_word(of->k + (size_t)t * of->stride);
            const float scale = edgec_half_low(of->k_scale[t * (of->step / 2u)]) * of->scale[row];
            const float s = (float)edgec_sdotsp_b(0, of->q[row], key) * scale;
            of->s[row * (of->lds / 4u) + t] = s;
            if (t < of->count) {
                of->top[row] = edgec_p_max(of->top[row], (int32_t)edgec_bits(s));
            }
        }
    }
}

EDGEC_INLINE void edgec_quad_clear(edgec_quad_values *of) {
    memset(of->acc, 0, sizeof(of->acc));
}

EDGEC_INLINE void edgec_quad_mix(edgec_quad_values *of) {
    for (uint32_t i = 0; i < 64u * of->tiles; i++) { /* a product of an element and a row's weight */
        const uint32_t t = i / 64u * 4u + i % 4u, row = i / 4u % 4u, e = i / 16u % 4u;
        of->acc[4u * row + e] += of->p[i / 64u * 16u + 4u * row + i % 4u] * of->v[(size_t)t * of->stride + e];
    }
}

#endif

/* acc = the sums over t of p[t] * v[t] of four rows. p: [ceil(count / 4)][4][4], 0 behind the last position. */
EDGEC_INLINE void edgec_mix_quad(edgec_quad_values *of, const uint8_t *p, const edgec_values *values) {
    uint32_t rest = values->count % 4u, words[4];
    edgec_quad_clear(of);
    of->p = p;
    of->v = values->v;
    of->stride = values->stride;
    of->tiles = values->count / 4u;
    EDGEC_UNROLL_1
    for (;;) {
        if (!EDGEC_SELDOM(of->tiles == 0)) {
            edgec_quad_mix(of);
        }
        if (!EDGEC_SELDOM(rest)) {
            break;
        }
        /* The last tile in whole: there may be nothing behind the values. */
        const uint32_t whole = values->count - rest;
        EDGEC_UNROLL_1
        for (uint32_t t = 0; t < 4u; t++) {
            words[t] = t < rest ? edgec_load_word(values->v + (size_t)(whole + t) * values->stride) : 0u;
        }
        of->p = p + 4u * whole;
        of->v = (const int8_t *)words;
        of->stride = 4;
        of->tiles = 1;
        rest = 0;
    }
}

#endif
