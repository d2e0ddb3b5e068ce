/* Three query heads with the same keys and values, for cores with XpulpV2: what is loaded of a key serves three dot
 * products, and a tile of values is transposed once for all three. Instructions for 4 products, of one head and of three:
 *
 *     scores  2.25  1.58        values  4.75  2.42
 *
 * Both loops take every register, so what they need is on the stack, and an operand of the asm block in memory.
 */
#ifndef EDGEC_TRIO_XPULPV2_H
#define EDGEC_TRIO_XPULPV2_H

#include "edgec_scores_xpulpv2.h"
#include "edgec_values_xpulpv2.h"

/* Scores of whole tiles of 4 positions. k, k_scale and s move behind them. */
typedef struct {
    const uint8_t *k; /* of the first position */
    uint32_t stride;  /* bytes from position to position */
    uint32_t back;    /* from the fourth position to the first one's next word */
    const int8_t *q;  /* of the first head */
    uint32_t q_step;  /* bytes from the second head to the third one */
    uint32_t q_back;  /* from the third head to the first one's next word */
    const uint16_t *k_scale;
    uint32_t step;   /* bytes from position to position */
    float *s;        /* of the first position and head */
    uint32_t lds;    /* bytes from head to head */
    uint32_t tiles;  /* at least 1 */
    float scale[3];  /* of each head */
    float top[3];    /* the largest score; what it is at first counts too */
    uint32_t s_back; /* bytes from the third head to the first one's next position */
    uint32_t next;   /* and of k from a tile's first position behind its words to the next one */
    uint32_t q_next; /* and from the first head of q to the second one */
    uint32_t words;  /* of a head */
} edgec_trio_scores;

/* Sums of p times v, over whole tiles of 4 positions. */
typedef struct {
    const uint8_t *p; /* of the first head */
    uint32_t lds;     /* bytes from head to head */
    const int8_t *v;  /* [..][stride] of which [4] is read */
    uint32_t stride;
    uint32_t tiles; /* at least 1 */
    void *sums;     /* where they go, int32: [4] of the first head */
    uint32_t next;  /* bytes from head to head */
} edgec_trio_values;

#if defined(EDGEC_PULP_FLOAT)

_Static_assert(offsetof(edgec_trio_scores, q) == 12 && offsetof(edgec_trio_scores, k_scale) == 24 &&
                   offsetof(edgec_trio_scores, s) == 32 && offsetof(edgec_trio_scores, scale) == 44 &&
                   offsetof(edgec_trio_scores, top) == 56 && offsetof(edgec_trio_scores, next) == 72 &&
                   offsetof(edgec_trio_scores, words) == 80 && offsetof(edgec_trio_values, stride) == 12 &&
                   offsetof(edgec_trio_values, sums) == 20,
               "as the loops below read them");

/* clang-format off */
#define T    EDGEC_ASM_T
#define GET  EDGEC_ASM_GET
#define PUT  EDGEC_ASM_PUT
#define ZERO EDGEC_ASM_ZERO
#define MIX  EDGEC_MIX
#define KEY(reg)        EDGEC_P_LW_R("%[" #reg "]", "%[stride]", "%[k]")
#define DOTS(a, b, c, key)                          \
    EDGEC_PV_SDOTSP_B("%[" #a "]", "%[q0]", "%[" #key "]") \
    EDGEC_PV_SDOTSP_B("%[" #b "]", "%[q1]", "%[" #key "]") \
    EDGEC_PV_SDOTSP_B("%[" #c "]", "%[q2]", "%[" #key "]")
/* A position's scores: float instructions take turns with others, as two cores share the unit that executes them. */
#define SCORES(a, b, c, load, shift)                \
    "fmul.s %[p], %[t], %[q0]\n\t"                  \
    "fcvt.s.w %[" #a "], %[" #a "]\n\t"             \
    "fmul.s %[r], %[t], %[q1]\n\t"                  \
    "fmul.s %[" #a "], %[" #a "], %[p]\n\t"         \
    "fcvt.s.w %[" #b "], %[" #b "]\n\t"             \
    "fmul.s %[p], %[t], %[q2]\n\t"                  \
    load                                            \
    "fcvt.s.w %[" #c "], %[" #c "]\n\t"             \
    EDGEC_P_SW_R("%[" #a "]", "%[ka]", "%[s]")      \
    "fmul.s %[" #b "], %[" #b "], %[r]\n\t"         \
    shift                                           \
    "fmul.s %[" #c "], %[" #c "], %[p]\n\t"         \
    EDGEC_P_SW_R("%[" #b "]", "%[ka]", "%[s]")      \
    EDGEC_P_SW_R("%[" #c "]", "%[kb]", "%[s]")
#define KEY_SCALE EDGEC_P_LHU_R("%[t]", "%[step]", "%[ks]")
#define SHIFT     "slli %[t], %[t], 13\n\t"
#define TOP(a, b, c, e, at)                         \
    GET(t, at)                                      \
    "fmax.s %[p], %[" #a "], %[" #b "]\n\t"         \
    "fmax.s %[r], %[" #c "], %[" #e "]\n\t"         \
    "fmax.s %[t], %[t], %[p]\n\t"                   \
    "fmax.s %[t], %[t], %[r]\n\t"                   \
    PUT(t, at)

EDGEC_INLINE void edgec_score_trio_tiles(edgec_trio_scores *of) {
    uint32_t a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, q0, q1, q2, ka, kb, t, p, r;
    uint32_t at, d, k, stride, back, ks, step, s;
    __asm__ volatile(
        GET(k, "0") GET(stride, "4") GET(d, "16") GET(ks, "24") GET(step, "28") GET(s, "32") GET(t, "40")
        EDGEC_HWLOOP("1", "%[t]", "118",
            ZERO(a0) ZERO(a1) ZERO(a2) ZERO(a3) ZERO(b0) ZERO(b1) ZERO(b2) ZERO(b3) ZERO(c0) ZERO(c1) ZERO(c2) ZERO(c3)
            GET(t, "80") GET(back, "8") GET(at, "12") GET(p, "76") GET(r, "20")
            EDGEC_HWLOOP_INNER("0", "%[t]", "19",
                EDGEC_P_LW_R("%[q0]", "%[p]", "%[at]")
                EDGEC_P_LW_R("%[q1]", "%[d]", "%[at]")
                EDGEC_P_LW_R("%[q2]", "%[r]", "%[at]")
                KEY(ka) KEY(kb)
                DOTS(a0, b0, c0, ka) KEY(ka)
                DOTS(a1, b1, c1, kb) EDGEC_P_LW_R("%[kb]", "%[back]", "%[k]")
                DOTS(a2, b2, c2, ka) DOTS(a3, b3, c3, kb))
            KEY_SCALE
            GET(p, "72") GET(q0, "44") GET(q1, "48") GET(q2, "52") GET(ka, "36") GET(kb, "68")
            SHIFT
            "add %[k], %[k], %[p]\n\t"
            SCORES(a0, b0, c0, KEY_SCALE, SHIFT) SCORES(a1, b1, c1, KEY_SCALE, SHIFT)
            SCORES(a2, b2, c2, KEY_SCALE, SHIFT) SCORES(a3, b3, c3, "", "")
            TOP(a0, a1, a2, a3, "56") TOP(b0, b1, b2, b3, "60") TOP(c0, c1, c2, c3, "64"))
        PUT(k, "0") PUT(ks, "24") PUT(s, "32")
        : T(a0), T(a1), T(a2), T(a3), T(b0), T(b1), T(b2), T(b3), T(c0), T(c1), T(c2), T(c3), T(q0), T(q1), T(q2), T(ka),
          T(kb), T(t), T(p), T(r), T(at), T(d), T(k), T(stride), T(back), T(ks), T(step), T(s), [of] "+m"(*of)
        :
        : "memory");
}


#define SUMS(a, b, c, e)                            \
    "sw %[" #b "], 4(%[v])\n\t"                     \
    "sw %[" #c "], 8(%[v])\n\t"                     \
    "sw %[" #e "], 12(%[v])\n\t"                    \
    EDGEC_P_SW_R("%[" #a "]", "%[p]", "%[v]")

EDGEC_INLINE void edgec_mix_trio_tiles(edgec_trio_values *of) {
    uint32_t a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, w, w2, r0, r1, r2, r3, x, y, high, upper, odd;
    uint32_t p, lds, back, v, stride;
    __asm__ volatile(
        GET(p, "0") GET(lds, "4") GET(v, "8") GET(stride, "12") GET(w, "16")
        ZERO(a0) ZERO(a1) ZERO(a2) ZERO(a3) ZERO(b0) ZERO(b1) ZERO(b2) ZERO(b3) ZERO(c0) ZERO(c1) ZERO(c2) ZERO(c3)
        "slli %[back], %[lds], 1\n\tneg %[back], %[back]\n\taddi %[back], %[back], 4\n\t"
        EDGEC_TRANSPOSE_MASKS
        EDGEC_HWLOOP("0", "%[w]", "28",
            EDGEC_TRANSPOSE
            EDGEC_P_LW_R("%[w]", "%[lds]", "%[p]")
            EDGEC_P_LW_R("%[w2]", "%[lds]", "%[p]")
            MIX(w, a0, a1, a2, a3)
            EDGEC_P_LW_R("%[w]", "%[back]", "%[p]")
            MIX(w2, b0, b1, b2, b3) MIX(w, c0, c1, c2, c3))
        GET(v, "20") GET(p, "24")
        SUMS(a0, a1, a2, a3) SUMS(b0, b1, b2, b3) SUMS(c0, c1, c2, c3)
        : T(a0), T(a1), T(a2), T(a3), T(b0), T(b1), T(b2), T(b3), T(c0), T(c1), T(c2), T(c3), T(w), T(w2), T(r0), T(r1),
          T(r2), T(r3), T(x), T(y), T(high), T(upper), T(odd), T(p), T(lds), T(back), T(v), T(stride), [of] "+m"(*of)
        :
        : "memory");
}
/* clang-format on */

#undef T
#undef GET
#undef PUT
#undef ZERO
#undef KEY
#undef DOTS
#undef SCORES
#undef KEY_SCALE
#undef SHIFT
#undef TOP
#undef MIX
#undef SUMS

#else

EDGEC_INLINE void edgec_score_trio_tiles(edgec_trio_scores *of) {
    const int8_t *q = of->q;
    for (uint32_t h = 0; h < 3u; h++) {
        edgec_keys keys = {of->k, of->k_scale, of->stride, 4u * of->words, of->step / 2u};
        float *s = of->s + h * (of->lds / 4u);
        of->top[h] = edgec_score_tiles(q, &keys, of->scale[h], &s, of->tiles, of->top[h]);
        q += h == 0 ? of->q_next : of->q_step;
    }
    of->k += (size_t)4u * of->tiles * of->stride;
    of->k_scale += (size_t)4u * of->tiles * (of->step / 2u);
    of->s += (size_t)4u * of->tiles;
}

EDGEC_INLINE void edgec_mix_trio_tiles(edgec_trio_values *of) {
    for (uint32_t h = 0; h < 3u; h++) {
        const edgec_mixed sum =
            edgec_mix_four(of->p + h * of->lds, of->v, of->stride, 4u * of->tiles, (edgec_mixed){0, 0, 0, 0});
        memcpy((char *)of->sums + h * of->next, &sum, sizeof(sum));
    }
}

#endif

/* The heads of q lie so many bytes apart. */
EDGEC_INLINE void edgec_score_trio_apart(edgec_trio_scores *of, uint32_t q_next, uint32_t q_step) {
    of->q_next = q_next;
    of->q_step = q_step;
    of->q_back = 4u - q_next - q_step;
}

/* What does not depend on the heads and positions: such keys, score rows of lds numbers, heads of q next to each other. */
EDGEC_INLINE void edgec_score_trio_of(edgec_trio_scores *of, const edgec_keys *keys, uint32_t lds) {
    of->stride = keys->stride;
    of->back = 4u - 3u * keys->stride;
    of->words = keys->d / 4u;
    edgec_score_trio_apart(of, keys->d, keys->d);
    of->step = 2u * keys->kv;
    of->lds = 4u * lds;
    of->s_back = 4u - 8u * lds;
    of->next = 4u * keys->stride - keys->d;
}

/* edgec_score_row of three heads: q of the first one, s [3][lds] of which [most] is written, scale [3]; the largest scores
 * of the first `all` positions go to top [3 * next]. Whether they are served: whole words, at least a tile, factors that stay
 * finite. */
EDGEC_INLINE int edgec_score_trio(edgec_trio_scores *of, const int8_t *q, const edgec_keys *keys,
                                  const float *scale, float factor, float *s, uint32_t all, uint32_t most,
                                  float *top, uint32_t next) {
    const float f0 = scale[0] * factor, f1 = scale[1] * factor, f2 = scale[2] * factor; /* none is negative */
    const uint32_t largest = edgec_p_maxu(edgec_p_maxu(edgec_bits(f0), edgec_bits(f1)), edgec_bits(f2));
    if (EDGEC_SELDOM((keys->d % 4u != 0) | (all < 4u) | (largest >= edgec_bits(EDGEC_UP_LIMIT)))) {
        return 0;
    }
    /* First, if there are more positions, the last tile, whose largest scores are not wanted; then whole tiles; then the
     * last 4 of all, some of them once more, with the same bits. */
    int32_t move = most > all ? (int32_t)most - 4 : 0;
    of->k = keys->k + move * (int32_t)keys->stride;
    of->q = q;
    of->k_scale = keys->k_scale + move * (int32_t)keys->kv;
    of->s = s + move;
    of->tiles = most > all ? 1u : all / 4u;
    of->scale[0] = f0 * EDGEC_UP;
    of->scale[1] = f1 * EDGEC_UP;
    of->scale[2] = f2 * EDGEC_UP;
    of->top[0] = of->top[1] = of->top[2] = edgec_float(0xFF800000u); /* minus infinity */
    EDGEC_UNROLL_1
    for (uint32_t back = (0u - all) % 4u;;) {
        edgec_score_trio_tiles(of);
        of->tiles = 1;
        if (most > all) {
            move = -(int32_t)most;
            most = all;
            of->tiles = all / 4u;
            of->top[0] = of->top[1] = of->top[2] = edgec_float(0xFF800000u);
        } else if (EDGEC_SELDOM(back > 0)) {
            move = -(int32_t)back;
            back = 0;
        } else {
            break;
        }
        EDGEC_ONE_LOOP(back);
        of->k += move * (int32_t)keys->stride;
        of->k_scale += move * (int32_t)keys->kv;
        of->s += move;
    }
    top[0] = of->top[0];
    top[next] = of->top[1];
    top[2u * next] = of->top[2];
    return 1;
}

/* The sums over t of p[t] * v[t] of three heads, whole tiles of 4 positions and 4 elements. p: [3][next_p]; sums: int32 [3]
 * of which [4] is written, next_sums apart */
EDGEC_INLINE void edgec_mix_trio(const uint8_t *p, uint32_t next_p, const edgec_values *values, void *sums,
                                 uint32_t next_sums) {
    edgec_trio_values of = {p, next_p, values->v, values->stride, values->count / 4u, sums, 4u * next_sums};
    edgec_mix_trio_tiles(&of);
}

#endif
