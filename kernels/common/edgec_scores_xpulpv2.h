/* Scores of one query head against its keys, for cores with XpulpV2: four products an instruction, over words of a head
 * and tiles of four positions. Heads whose words are not whole, and fewer than four positions, go element by element.
 */
#ifndef EDGEC_SCORES_XPULPV2_H
#define EDGEC_SCORES_XPULPV2_H

#include "edgec_rows_xpulpv2.h"

/* What a head's keys are: k [count][stride] of which a head is read, k_scale [count][kv]. d: elements of a head; stride:
 * bytes from one position to the next. Of 4 bits, elements i and i + d/2 share byte i, as u = element + 8. */
typedef struct {
    const uint8_t *k;
    const uint16_t *k_scale;
    uint32_t stride;
    uint32_t d;
    uint32_t kv;
} edgec_keys;

#if defined(EDGEC_PULP_FLOAT)
/* The score of a position, stored; r is its sum. 7 instructions. */
/* clang-format off */
#define EDGEC_SCORE(r)                        \
    EDGEC_P_LHU_R("%[x]", "%[step]", "%[ks]") \
    "fcvt.s.w " r ", " r "\n\t"               \
    "slli %[x], %[x], 13\n\t"                 \
    "fmul.s %[x], %[x], %[scale]\n\t"         \
    "fmul.s " r ", " r ", %[x]\n\t"           \
    "fmax.s %[top], %[top], " r "\n\t"        \
    EDGEC_P_SW(r, "4", "%[s]")
/* clang-format on */
#endif

/* s[t] of 4 * tiles positions; moves the keys and s behind them and returns the largest of their scores and `top`. */
EDGEC_INLINE float edgec_score_tiles(const int8_t *q, edgec_keys *keys, float scale, float **s,
                                     uint32_t tiles, float top) {
#if defined(EDGEC_PULP_FLOAT)
    const uint32_t words = keys->d / 4u, step = 2u * keys->kv;
    const uint32_t back = 4u - 3u * keys->stride; /* from the fourth position to the first one's next word */
    const uint32_t next = 4u * keys->stride - 4u * words; /* from the first one's end to the next tile */
    const int8_t *at;
    uint32_t a0, a1, a2, a3, k0, k1, k2, k3, x;
    /* EDGEC_SCORE of four positions, in an order in which float instructions seldom follow each other: two cores share
     * the unit that executes them. */
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("1", "%[tiles]", "44",
            "mv %[at], %[q]\n\t"
            "mv %[a0], zero\n\t"
            "mv %[a1], zero\n\t"
            "mv %[a2], zero\n\t"
            "mv %[a3], zero\n\t"
            EDGEC_HWLOOP_INNER("0", "%[words]", "9",
                EDGEC_P_LW("%[x]", "4", "%[at]")
                EDGEC_P_LW_R("%[k0]", "%[stride]", "%[k]")
                EDGEC_P_LW_R("%[k1]", "%[stride]", "%[k]")
                EDGEC_P_LW_R("%[k2]", "%[stride]", "%[k]")
                EDGEC_P_LW_R("%[k3]", "%[back]", "%[k]")
                EDGEC_PV_SDOTSP_B("%[a0]", "%[x]", "%[k0]")
                EDGEC_PV_SDOTSP_B("%[a1]", "%[x]", "%[k1]")
                EDGEC_PV_SDOTSP_B("%[a2]", "%[x]", "%[k2]")
                EDGEC_PV_SDOTSP_B("%[a3]", "%[x]", "%[k3]"))
            EDGEC_P_LHU_R("%[k0]", "%[step]", "%[ks]")
            "fcvt.s.w %[a0], %[a0]\n\t"
            EDGEC_P_LHU_R("%[k1]", "%[step]", "%[ks]")
            "fcvt.s.w %[a1], %[a1]\n\t"
            "slli %[k0], %[k0], 13\n\t"
            "fmul.s %[k0], %[k0], %[scale]\n\t"
            "slli %[k1], %[k1], 13\n\t"
            "fmul.s %[k1], %[k1], %[scale]\n\t"
            EDGEC_P_LHU_R("%[k2]", "%[step]", "%[ks]")
            "fmul.s %[a0], %[a0], %[k0]\n\t"
            EDGEC_P_LHU_R("%[k3]", "%[step]", "%[ks]")
            "fmul.s %[a1], %[a1], %[k1]\n\t"
            "slli %[k2], %[k2], 13\n\t"
            "fcvt.s.w %[a2], %[a2]\n\t"
            "slli %[k3], %[k3], 13\n\t"
            "fmul.s %[k2], %[k2], %[scale]\n\t"
            EDGEC_P_SW("%[a0]", "4", "%[s]")
            "fmax.s %[top], %[top], %[a0]\n\t"
            EDGEC_P_SW("%[a1]", "4", "%[s]")
            "fmax.s %[top], %[top], %[a1]\n\t"
            "add %[k], %[k], %[next]\n\t"
            "fcvt.s.w %[a3], %[a3]\n\t"
            "fmul.s %[k3], %[k3], %[scale]\n\t"
            "fmul.s %[a2], %[a2], %[k2]\n\t"
            EDGEC_P_SW("%[a2]", "4", "%[s]")
            "fmul.s %[a3], %[a3], %[k3]\n\t"
            EDGEC_P_SW("%[a3]", "4", "%[s]")
            "fmax.s %[top], %[top], %[a2]\n\t"
            "fmax.s %[top], %[top], %[a3]\n\t")
        : [k] "+r"(keys->k), [ks] "+r"(keys->k_scale), [s] "+r"(*s), [top] "+r"(top), [at] "=&r"(at),
          [a0] "=&r"(a0), [a1] "=&r"(a1), [a2] "=&r"(a2), [a3] "=&r"(a3), [k0] "=&r"(k0), [k1] "=&r"(k1),
          [k2] "=&r"(k2), [k3] "=&r"(k3), [x] "=&r"(x)
        : [tiles] "r"(tiles), [words] "r"(words), [q] "r"(q), [stride] "r"(keys->stride), [back] "r"(back),
          [next] "r"(next), [step] "r"(step), [scale] "r"(scale)
        : "memory");
    /* clang-format on */
#else
    for (uint32_t n = 4u * tiles; n > 0; n--) {
        int32_t acc = 0;
        for (uint32_t i = 0; i < keys->d; i += 4u) {
            acc = edgec_sdotsp_b(acc, edgec_load_word(q + i), edgec_load_word(keys->k + i));
        }
        **s = (float)acc * (edgec_half_low(*keys->k_scale) * scale);
        top = edgec_max(top, **s);
        keys->k += keys->stride;
        keys->k_scale += keys->kv;
        (*s)++;
    }
#endif
    return top;
}

/* The same for heads of 4 elements: the query is one word, which stays in a register. */
EDGEC_INLINE float edgec_score_words(const int8_t *q, edgec_keys *keys, float scale, float **s,
                                     uint32_t tiles, float top) {
#if defined(EDGEC_PULP_FLOAT)
    const uint32_t step = 2u * keys->kv, word = edgec_load_word(q);
    uint32_t a0, a1, a2, a3, k0, k1, k2, k3;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[tiles]", "36",
            EDGEC_P_LW_R("%[a0]", "%[stride]", "%[k]")
            EDGEC_P_LW_R("%[a1]", "%[stride]", "%[k]")
            EDGEC_P_LHU_R("%[k0]", "%[step]", "%[ks]")
            EDGEC_PV_DOTSP_B("%[a0]", "%[q]", "%[a0]")
            EDGEC_PV_DOTSP_B("%[a1]", "%[q]", "%[a1]")
            "slli %[k0], %[k0], 13\n\t"
            "fcvt.s.w %[a0], %[a0]\n\t"
            EDGEC_P_LHU_R("%[k1]", "%[step]", "%[ks]")
            "fmul.s %[k0], %[k0], %[scale]\n\t"
            EDGEC_P_LW_R("%[a2]", "%[stride]", "%[k]")
            "fcvt.s.w %[a1], %[a1]\n\t"
            "slli %[k1], %[k1], 13\n\t"
            "fmul.s %[a0], %[a0], %[k0]\n\t"
            EDGEC_P_LW_R("%[a3]", "%[stride]", "%[k]")
            "fmul.s %[k1], %[k1], %[scale]\n\t"
            EDGEC_P_SW("%[a0]", "4", "%[s]")
            "fmax.s %[top], %[top], %[a0]\n\t"
            EDGEC_PV_DOTSP_B("%[a2]", "%[q]", "%[a2]")
            "fmul.s %[a1], %[a1], %[k1]\n\t"
            EDGEC_P_LHU_R("%[k2]", "%[step]", "%[ks]")
            "fcvt.s.w %[a2], %[a2]\n\t"
            EDGEC_P_SW("%[a1]", "4", "%[s]")
            "fmax.s %[top], %[top], %[a1]\n\t"
            "slli %[k2], %[k2], 13\n\t"
            "fmul.s %[k2], %[k2], %[scale]\n\t"
            EDGEC_P_LHU_R("%[k3]", "%[step]", "%[ks]")
            EDGEC_PV_DOTSP_B("%[a3]", "%[q]", "%[a3]")
            "fmul.s %[a2], %[a2], %[k2]\n\t"
            "slli %[k3], %[k3], 13\n\t"
            "fcvt.s.w %[a3], %[a3]\n\t"
            EDGEC_P_SW("%[a2]", "4", "%[s]")
            "fmul.s %[k3], %[k3], %[scale]\n\t"
            "fmax.s %[top], %[top], %[a2]\n\t"
            "fmul.s %[a3], %[a3], %[k3]\n\t"
            EDGEC_P_SW("%[a3]", "4", "%[s]")
            "fmax.s %[top], %[top], %[a3]\n\t")
        : [k] "+r"(keys->k), [ks] "+r"(keys->k_scale), [s] "+r"(*s), [top] "+r"(top), [a0] "=&r"(a0),
          [a1] "=&r"(a1), [a2] "=&r"(a2), [a3] "=&r"(a3), [k0] "=&r"(k0), [k1] "=&r"(k1), [k2] "=&r"(k2),
          [k3] "=&r"(k3)
        : [tiles] "r"(tiles), [q] "r"(word), [stride] "r"(keys->stride), [step] "r"(step), [scale] "r"(scale)
        : "memory");
    /* clang-format on */
    return top;
#else
    return edgec_score_tiles(q, keys, scale, s, tiles, top);
#endif
}

/* The same for keys of 4 bits. less: 8 times the sum of q, as sum(q (u - 8)) = sum(q u) - 8 sum(q). */
EDGEC_INLINE float edgec_score_tiles_i4(const int8_t *q, edgec_keys *keys, float scale, float **s,
                                        uint32_t tiles, float top, int32_t less) {
    const uint32_t bytes = keys->d / 2u;
#if defined(EDGEC_PULP_FLOAT)
    const uint32_t step = 2u * keys->kv;
    const uint32_t back = 4u - 3u * keys->stride, next = 4u * keys->stride - bytes; /* as above */
    const int8_t *at;
    uint32_t a0, a1, a2, a3, k0, k1, k2, k3, x, y, low, mask;
    /* One word of a position: k is used up, a is its sum. 5 instructions. */
    /* clang-format off */
#define EDGEC_SCORE_I4(k, a)                  \
    "and %[low], " k ", %[mask]\n\t"          \
    "srli " k ", " k ", 4\n\t"                \
    "and " k ", " k ", %[mask]\n\t"           \
    EDGEC_PV_SDOTUSP_B(a, "%[low]", "%[x]")   \
    EDGEC_PV_SDOTUSP_B(a, k, "%[y]")
    __asm__ volatile(
        "li %[mask], 0x0F0F0F0F\n\t"
        EDGEC_HWLOOP("1", "%[tiles]", "61",
            "mv %[at], %[q]\n\t"
            "neg %[a0], %[less]\n\t"
            "mv %[a1], %[a0]\n\t"
            "mv %[a2], %[a0]\n\t"
            "mv %[a3], %[a0]\n\t"
            EDGEC_HWLOOP_INNER("0", "%[words]", "26",
                EDGEC_P_LW_RR("%[y]", "%[bytes]", "%[at]")
                EDGEC_P_LW("%[x]", "4", "%[at]")
                EDGEC_P_LW_R("%[k0]", "%[stride]", "%[k]")
                EDGEC_P_LW_R("%[k1]", "%[stride]", "%[k]")
                EDGEC_P_LW_R("%[k2]", "%[stride]", "%[k]")
                EDGEC_P_LW_R("%[k3]", "%[back]", "%[k]")
                EDGEC_SCORE_I4("%[k0]", "%[a0]")
                EDGEC_SCORE_I4("%[k1]", "%[a1]")
                EDGEC_SCORE_I4("%[k2]", "%[a2]")
                EDGEC_SCORE_I4("%[k3]", "%[a3]"))
            "add %[k], %[k], %[next]\n\t"
            EDGEC_SCORE("%[a0]")
            EDGEC_SCORE("%[a1]")
            EDGEC_SCORE("%[a2]")
            EDGEC_SCORE("%[a3]"))
        : [k] "+r"(keys->k), [ks] "+r"(keys->k_scale), [s] "+r"(*s), [top] "+r"(top), [at] "=&r"(at),
          [a0] "=&r"(a0), [a1] "=&r"(a1), [a2] "=&r"(a2), [a3] "=&r"(a3), [k0] "=&r"(k0), [k1] "=&r"(k1),
          [k2] "=&r"(k2), [k3] "=&r"(k3), [x] "=&r"(x), [y] "=&r"(y), [low] "=&r"(low), [mask] "=&r"(mask)
        : [tiles] "r"(tiles), [words] "r"(bytes / 4u), [q] "r"(q), [stride] "r"(keys->stride),
          [back] "r"(back), [next] "r"(next), [step] "r"(step), [scale] "r"(scale), [bytes] "r"(bytes),
          [less] "r"(less)
        : "memory");
    /* clang-format on */
#undef EDGEC_SCORE_I4
#else
    for (uint32_t n = 4u * tiles; n > 0; n--) {
        int32_t acc = -less;
        for (uint32_t i = 0; i < bytes; i += 4u) {
            const uint32_t word = edgec_load_word(keys->k + i);
            acc = edgec_sdotusp_b(acc, word & 0x0F0F0F0Fu, edgec_load_word(q + i));
            acc = edgec_sdotusp_b(acc, word >> 4 & 0x0F0F0F0Fu, edgec_load_word(q + bytes + i));
        }
        **s = (float)acc * (edgec_half_low(*keys->k_scale) * scale);
        top = edgec_max(top, **s);
        keys->k += keys->stride;
        keys->k_scale += keys->kv;
        (*s)++;
    }
#endif
    return top;
}

/* q . k of one position: of 8 bits and whole words by words, otherwise element by element. */
EDGEC_INLINE int32_t edgec_dot_elements(uint32_t bits, const int8_t *q, const uint8_t *k, uint32_t d) {
    int32_t acc = 0;
#if defined(EDGEC_XPULPV2)
    if (bits == 8u && d % 4u == 0) {
        uint32_t x, y;
        /* clang-format off */
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[words]", "4",
                EDGEC_P_LW("%[x]", "4", "%[q]")
                EDGEC_P_LW("%[y]", "4", "%[k]")
                "nop\n\t"
                EDGEC_PV_SDOTSP_B("%[acc]", "%[x]", "%[y]"))
            : [q] "+r"(q), [k] "+r"(k), [acc] "+r"(acc), [x] "=&r"(x), [y] "=&r"(y)
            : [words] "r"(d / 4u)
            : "memory");
        /* clang-format on */
        return acc;
    }
#endif
    EDGEC_UNROLL_1
    for (uint32_t i = 0; i < d; i++) {
        const uint32_t half = d / 2u;
        acc += q[i] * (bits == 8u ? (int32_t)(int8_t)k[i]
                       : i < half ? (k[i] & 15) - 8
                                  : (k[i - half] >> 4) - 8);
    }
    return acc;
}

/* s[t] of `count` positions, one by one. */
EDGEC_INLINE float edgec_score_elements(uint32_t bits, const int8_t *q, const edgec_keys *keys, float scale,
                                        float *s, uint32_t count, float top) {
    const uint8_t *k = keys->k;
    const uint16_t *k_scale = keys->k_scale;
    EDGEC_UNROLL_1
    for (; count > 0; count--) {
        *s = (float)edgec_dot_elements(bits, q, k, keys->d) * (edgec_half_low(*k_scale) * scale);
        top = edgec_max(top, *s++);
        k += keys->stride;
        k_scale += keys->kv;
    }
    return top;
}

/* s[t] = float32(q . k[t]) * (exact * k_scale[t]) of all positions; returns the largest. bits: 8 or 4, of the keys. */
EDGEC_INLINE float edgec_score_row(uint32_t bits, const int8_t *q, edgec_keys keys, float exact, float *s,
                                   uint32_t count) {
    const int fits =
        !EDGEC_SELDOM(exact >= EDGEC_UP_LIMIT); /* or it is multiplied last, when the products are smaller */
    const float scale = fits ? exact * EDGEC_UP : exact;
    float top = edgec_float(0xFF800000u); /* minus infinity */
    float *at = s;
    if (!EDGEC_SELDOM((keys.d % (32u / bits) != 0) | (count < 4u))) {
        int32_t less = 0;
        if (bits == 4u) {
            for (uint32_t i = 0; i < keys.d; i += 4u) {
                less = edgec_sdotsp_b(less, edgec_load_word(q + i), 0x08080808u);
            }
        }
        uint32_t tiles = count / 4u, back = (0u - count) % 4u;
        for (;;) {
            top = bits == 4u     ? edgec_score_tiles_i4(q, &keys, scale, &at, tiles, top, less)
                  : keys.d == 4u ? edgec_score_words(q, &keys, scale, &at, tiles, top)
                                 : edgec_score_tiles(q, &keys, scale, &at, tiles, top);
            if (back == 0) {
                break;
            }
            /* The last 4 positions: `back` of them once more, with the same bits. */
            keys.k -= back * keys.stride;
            keys.k_scale -= back * keys.kv;
            at -= back;
            tiles = 1;
            back = 0;
            EDGEC_ONE_LOOP(back);
        }
    } else {
        top = edgec_score_elements(bits, q, &keys, scale, s, count, top);
    }
    if (EDGEC_SELDOM(!fits)) {
        EDGEC_UNROLL_1
        for (uint32_t t = 0; t < count; t++) {
            s[t] *= EDGEC_UP;
        }
        top *= EDGEC_UP;
    }
    return top;
}

/* The largest of s [count], count at least 1. */
EDGEC_INLINE float edgec_top_score(const float *s, uint32_t count) {
    float top = *s;
#if defined(EDGEC_PULP_FLOAT)
    EDGEC_FOLD("fmax.s %[total], %[total], %[a]\n\t", top, s, count);
#else
    EDGEC_UNROLL_1
    while (--count > 0) {
        top = edgec_max(top, *++s);
    }
#endif
    return top;
}

/* The sum of x [count], count at least 1: of integers below 2^24, so exact. */
EDGEC_INLINE float edgec_total(const float *x, uint32_t count) {
    float total = 0.0f;
#if defined(EDGEC_PULP_FLOAT)
    EDGEC_FOLD("fadd.s %[total], %[total], %[a]\n\t", total, x, count);
#else
    EDGEC_UNROLL_1
    for (; count > 0; count--) {
        total += *x++;
    }
#endif
    return total;
}

/* Parts of a score row: as many as spread `units` rows evenly over the cores. */
EDGEC_INLINE uint32_t edgec_score_parts(uint32_t units, uint32_t n_cores) {
    return units % n_cores == 0 || units >= 8u * n_cores ? 1u : n_cores;
}

#endif
