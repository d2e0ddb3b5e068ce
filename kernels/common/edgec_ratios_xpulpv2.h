/* Weights of the softmax of attention.h for several rows and heads with the same values, for cores with XpulpV2: the integers
 * r of their scales are computed once for all, and stay in a row of their own.
 */
#ifndef EDGEC_RATIOS_XPULPV2_H
#define EDGEC_RATIOS_XPULPV2_H

#include "edgec_softmax_xpulpv2.h"

/* r [count] of scales, v_scale [count][kv]. */
EDGEC_INLINE void edgec_ratio_row(const uint16_t *v_scale, uint32_t kv, uint32_t count, float ratio,
                                  uint16_t *r) {
#if defined(EDGEC_PULP_FLOAT)
    if (!EDGEC_SELDOM(count < 2u)) {
        uint32_t a, b;
        /* clang-format off */
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[pairs]", "10",
                EDGEC_P_LHU_R("%[a]", "%[step]", "%[v]")
                EDGEC_P_LHU_R("%[b]", "%[step]", "%[v]")
                "slli %[a], %[a], 13\n\t"
                "fmul.s %[a], %[a], %[ratio]\n\t"
                "slli %[b], %[b], 13\n\t"
                "fmul.s %[b], %[b], %[ratio]\n\t"
                "fadd.s %[a], %[a], %[magic]\n\t"
                EDGEC_P_SH("%[a]", "2", "%[r]")
                "fadd.s %[b], %[b], %[magic]\n\t"
                EDGEC_P_SH("%[b]", "2", "%[r]"))
            : [v] "+r"(v_scale), [r] "+r"(r), [a] "=&r"(a), [b] "=&r"(b)
            : [pairs] "r"(count / 2u), [step] "r"(2u * kv), [ratio] "r"(ratio), [magic] "r"(EDGEC_RATIO_MAGIC)
            : "memory");
        /* clang-format on */
        count %= 2u;
    }
#endif
    EDGEC_UNROLL_1
    for (; count > 0; count--) {
        *r++ = (uint16_t)edgec_ratio(*v_scale, ratio);
        v_scale += kv;
    }
}

/* The r of one key/value head, as far as rows have asked for them. */
typedef struct {
    uint32_t length;
    uint32_t most; /* the largest scale so far, its bits */
    float scale;   /* the same as a number */
    float ratio;
} edgec_ratios;

/* r for a row that sees `length` positions, more than the rows before, and for the next ones up to `end`, as long as no
 * larger scale comes, beside which all are other ones. v_scale: [end][kv]; r: [end] */
EDGEC_APART void edgec_ratios_of(edgec_ratios *of, const uint16_t *v_scale, uint32_t kv, uint32_t length,
                                 uint32_t end, uint16_t *r) {
    uint32_t from = of->length;
    const uint32_t most = edgec_most_scale(v_scale + from * kv, kv, length - from, from ? of->most : 0u);
    if (most != of->most || from == 0) {
        of->most = most;
        of->scale = edgec_f16_to_f32((uint16_t)most);
        of->ratio = edgec_ratio_of(of->scale);
        from = 0;
    }
    const uint16_t *next = v_scale + length * kv;
    EDGEC_UNROLL_1
    while (length < end && *next <= most) {
        next += kv;
        length++;
    }
    edgec_ratio_row(v_scale + from * kv, kv, length - from, of->ratio, r + from);
    of->length = length;
}

/* Rows and heads that are weighed with the same r. What s, p, top and total point to: of the first one. */
typedef struct {
    float *s; /* [lanes][lds], used up */
    uint8_t *p;
    float *top;      /* [lanes], the largest scores */
    uint32_t *total; /* [lanes] */
    uint32_t lds;
    uint32_t step; /* bytes of p from tile to tile */
    uint32_t next; /* and from one to the next */
    uint32_t tiles;
} edgec_weighed;

/* p of whole tiles of 4 positions from their r [4 * tiles], and the totals of e, of `lanes` rows and heads, whose largest
 * scores are edgec_near's. A score of minus infinity has p = e = 0. Returns the least of the totals and `least`. */
EDGEC_INLINE uint32_t edgec_weigh_tiles(const edgec_weighed *of, const uint16_t *r, uint32_t lanes,
                                        uint32_t least) {
    const uint32_t tiles = of->tiles, step = of->step, next = of->next;
    float *s = of->s;
    const float *top = of->top;
    uint8_t *p = of->p;
    uint32_t *to = of->total;
#if defined(EDGEC_PULP_FLOAT)
    uint32_t x0, x1, x2, x3, h0, h2, total;
    const uint16_t *h;
    uint8_t *q;
    float base; /* as in edgec_weigh_row */
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("1", "%[lanes]", "39",
            EDGEC_P_LW("%[base]", "4", "%[top]")
            "mv %[h], %[r]\n\t"
            "mv %[q], %[p]\n\t"
            "fadd.s %[base], %[magic], %[base]\n\t"
            "mv %[total], zero\n\t"
            EDGEC_HWLOOP_INNER("0", "%[tiles]", "29",
                EDGEC_P_LW("%[x0]", "4", "%[s]")
                EDGEC_P_LW("%[x1]", "4", "%[s]")
                EDGEC_P_LW("%[x2]", "4", "%[s]")
                "fsub.s %[x0], %[base], %[x0]\n\t"
                EDGEC_P_LW("%[x3]", "4", "%[s]")
                "fsub.s %[x1], %[base], %[x1]\n\t"
                EDGEC_P_MINU("%[x0]", "%[x0]", "%[last]")
                "fsub.s %[x2], %[base], %[x2]\n\t"
                EDGEC_P_MINU("%[x1]", "%[x1]", "%[last]")
                "fsub.s %[x3], %[base], %[x3]\n\t"
                EDGEC_P_LBU_RR("%[x0]", "%[x0]", "%[table]")
                EDGEC_P_MINU("%[x2]", "%[x2]", "%[last]")
                EDGEC_P_LBU_RR("%[x1]", "%[x1]", "%[table]")
                EDGEC_P_MINU("%[x3]", "%[x3]", "%[last]")
                EDGEC_P_LBU_RR("%[x2]", "%[x2]", "%[table]")
                EDGEC_P_LBU_RR("%[x3]", "%[x3]", "%[table]")
                EDGEC_P_LW("%[h0]", "4", "%[h]") /* two r, as two e: each takes half a word */
                EDGEC_P_LW("%[h2]", "4", "%[h]")
                EDGEC_PV_PACK_H("%[x0]", "%[x1]", "%[x0]")
                EDGEC_PV_PACK_H("%[x2]", "%[x3]", "%[x2]")
                EDGEC_P_MULURN("%[x1]", "%[x0]", "%[h0]", "15")
                EDGEC_P_MULHHURN("%[x3]", "%[x0]", "%[h0]", "15")
                EDGEC_PV_SDOTUP_H("%[total]", "%[x0]", "%[ones]")
                EDGEC_P_MULURN("%[h0]", "%[x2]", "%[h2]", "15")
                EDGEC_P_MULHHURN("%[h2]", "%[x2]", "%[h2]", "15")
                EDGEC_PV_SDOTUP_H("%[total]", "%[x2]", "%[ones]")
                EDGEC_PV_PACKLO_B("%[x1]", "%[x3]", "%[x1]")
                EDGEC_PV_PACKHI_B("%[x1]", "%[h2]", "%[h0]")
                EDGEC_P_SW_R("%[x1]", "%[step]", "%[q]"))
            EDGEC_P_SW("%[total]", "4", "%[to]")
            EDGEC_P_MINU("%[least]", "%[least]", "%[total]")
            "add %[s], %[s], %[skip]\n\t"
            "add %[p], %[p], %[next]\n\t")
        : [s] "+r"(s), [p] "+r"(p), [top] "+r"(top), [to] "+r"(to), [least] "+r"(least), [base] "=&r"(base), [h] "=&r"(h),
          [q] "=&r"(q), [total] "=&r"(total), [x0] "=&r"(x0), [x1] "=&r"(x1), [x2] "=&r"(x2), [x3] "=&r"(x3),
          [h0] "=&r"(h0), [h2] "=&r"(h2)
        : [lanes] "r"(lanes), [tiles] "r"(tiles), [r] "r"(r), [step] "r"(step), [next] "r"(next),
          [skip] "r"(4u * of->lds - 16u * tiles), [magic] "r"(EDGEC_EXP2_MAGIC), [ones] "r"(0x00010001u),
          [last] "r"(EDGEC_EXP2_MAGIC_BITS + EDGEC_EXP2_BYTES - 1u),
          [table] "r"((uintptr_t)hal_exp2_down - EDGEC_EXP2_MAGIC_BITS)
        : "memory");
    /* clang-format on */
#else
    for (uint32_t l = 0; l < lanes; l++) {
        const float base = EDGEC_EXP2_MAGIC - top[l];
        to[l] = 0;
        for (uint32_t t = 0; t < 4u * tiles; t++) {
            const uint32_t e = edgec_exp2_byte(s[l * of->lds + t], base);
            to[l] += e;
            p[l * next + t / 4u * step + t % 4u] = (uint8_t)edgec_probability(e, r[t]);
        }
        least = edgec_p_minu(least, to[l]);
    }
#endif
    return least;
}

#endif
