/* Scores of a row by N-EUREKA, which cores make floats of, for cores with XpulpV2: all positions of all heads go by as the
 * engine's pixels, six a line of its image.
 *
 *     cores     the queries as lines of weights; core 0 meanwhile tells the engine all but them
 *     engine    the first lines of pixels                     cores   the largest scale of the values
 *     engine    the other ones, if there are so many          cores   scores of those that are done
 *
 * A last line of less than six pixels is a job of its own, of the last six positions: some of them once more.
 */
#ifndef EDGEC_ATTENTION_NEUREKA_SCORES_XPULPV2_H
#define EDGEC_ATTENTION_NEUREKA_SCORES_XPULPV2_H

#include "../attention/attention_split_xpulpv2.h"
#include "attention_neureka_call.h"
#include "neureka_jobs.h"

#define EDGEC_FIRST_LINES                                                                                    \
    12u /* of pixels that a first job has, where there are more than a pass of six behind them */

/* Numbers and places of the engine's jobs. */
typedef struct {
    const uint8_t *lines;
    const int8_t *k;
    int32_t *sums;
    uint32_t cin; /* elements of a position's keys */
    uint32_t heads;
    uint32_t row; /* of sums */
} edgec_engine_scores;

EDGEC_INLINE edgec_engine_scores edgec_engine_scores_of(const edgec_attention_args *a, uint8_t *lines,
                                                        int32_t *sums) {
    const uintptr_t line = EDGEC_NEUREKA_LINE, aligned = ((uintptr_t)lines + line - 1u) & ~(line - 1u);
    return (edgec_engine_scores){(const uint8_t *)aligned,    a->k,       sums,
                                 a->n_kv_heads * a->head_dim, a->n_heads, (a->n_heads + 7u) / 8u * 8u};
}

/* Tells the engine of positions from `first` on: so many lines of six. hal_neureka_run starts it. */
EDGEC_APART void edgec_engine_write(const edgec_engine_scores *e, uint32_t first, uint32_t height) {
    const edgec_neureka_pixels job = {
        e->k + first * e->cin, e->lines,   e->sums + first * e->row, e->cin, e->heads, height,
        EDGEC_NEUREKA_PIXELS,  4u * e->row};
    hal_neureka_write(&job);
}

/* Four weights as a word of a line: bit i of weight c is bit 4 * i + c, and weights begin at -128. */
EDGEC_INLINE uint32_t edgec_line_word(uint32_t q) {
    uint32_t x = q ^ 0x80808080u, t;
    t = (x ^ (x >> 12)) & 0x0000F0F0u;
    x ^= t ^ (t << 12);
    t = (x ^ (x >> 6)) & 0x00CC00CCu;
    x ^= t ^ (t << 6);
    t = (x ^ (x >> 3)) & 0x0A0A0A0Au;
    x ^= t ^ (t << 3);
    t = (x ^ (x >> 1)) & 0x22222222u;
    return x ^ t ^ (t << 1);
}

/* A word to `count` lines; returns where the one behind would be. */
EDGEC_INLINE uint8_t *edgec_line_words(uint8_t *to, uint32_t line, uint32_t count, uint32_t word) {
#if defined(EDGEC_PULP_FLOAT)
    if (count > 0) {
        /* clang-format off */
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[count]", "3", EDGEC_P_SW_R("%[word]", "%[line]", "%[to]") "nop\n\t" "nop\n\t")
            : [to] "+r"(to)
            : [count] "r"(count), [line] "r"(line), [word] "r"(word)
            : "memory");
        /* clang-format on */
    }
#else
    for (; count > 0; count--) {
        *(uint32_t *)(void *)to = word;
        to += line;
    }
#endif
    return to;
}

/* The queries as lines, by all cores but core 0 if there are others: of each four elements of a position's keys the weights
 * of all heads, which are 0 but for the heads that have those keys. */
EDGEC_INLINE void edgec_engine_queries(const edgec_attention_args *a, const edgec_engine_scores *e,
                                       uint32_t core, uint32_t n_cores) {
    const uint32_t d = a->head_dim, words = d / 4u, group = a->n_heads / a->n_kv_heads, zeros = 0xF0000000u;
    const uint32_t line = (e->cin + EDGEC_NEUREKA_LINE - 1u) / EDGEC_NEUREKA_LINE * EDGEC_NEUREKA_LINE;
    const uint32_t others = n_cores > 1u ? n_cores - 1u : 1u;
    EDGEC_UNROLL_1
    for (uint32_t column = n_cores > 1u ? core - 1u : 0u; column < e->cin / 4u; column += others) {
        uint32_t before = 0, word = column;
        EDGEC_UNROLL_1
        for (; word >= words; word -= words) {
            before += group;
        }
        uint8_t *to = edgec_line_words((uint8_t *)(uintptr_t)e->lines + 4u * column, line, before, zeros);
        const int8_t *q = a->q + before * d + 4u * word;
        EDGEC_UNROLL_1
        for (uint32_t left = group; left > 0; left--) {
            *(uint32_t *)(void *)to = edgec_line_word(edgec_load_word(q));
            to += line;
            q += d;
        }
        edgec_line_words(to, line, a->n_heads - before - group, zeros);
    }
}

/* A head's scores of positions begin .. end - 1, at least one, from their sums; returns the larger of the largest and `top`. */
EDGEC_INLINE float edgec_engine_row(const edgec_engine_scores *e, uint32_t head, const uint16_t *k_scale,
                                    uint32_t kv, float factor, float *s, uint32_t begin, uint32_t count,
                                    float top) {
    const int32_t *acc = e->sums + begin * e->row + head;
    k_scale += begin * kv;
    s += begin;
#if defined(EDGEC_PULP_FLOAT)
    if (!EDGEC_SELDOM(edgec_abs(factor) >= EDGEC_UP_LIMIT)) {
        uint32_t h, x;
        /* clang-format off */
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[count]", "8",
                EDGEC_P_LHU_R("%[h]", "%[step]", "%[scale]")
                EDGEC_P_LW_R("%[x]", "%[next]", "%[acc]")
                "slli %[h], %[h], 13\n\t"
                "fcvt.s.w %[x], %[x]\n\t"
                "fmul.s %[h], %[h], %[factor]\n\t"
                "fmul.s %[x], %[x], %[h]\n\t"
                "fmax.s %[top], %[top], %[x]\n\t"
                EDGEC_P_SW("%[x]", "4", "%[s]"))
            : [scale] "+r"(k_scale), [acc] "+r"(acc), [s] "+r"(s), [top] "+r"(top), [h] "=&r"(h), [x] "=&r"(x)
            : [count] "r"(count), [step] "r"(2u * kv), [next] "r"(4u * e->row), [factor] "r"(factor * EDGEC_UP)
            : "memory");
        /* clang-format on */
        return top;
    }
#endif
    EDGEC_UNROLL_1
    for (; count > 0; count--) {
        const float score = (float)*acc * (factor * edgec_f16_to_f32(*k_scale));
        *s++ = score;
        top = edgec_max(top, score);
        acc += e->row;
        k_scale += kv;
    }
    return top;
}

/* Scores of this core's share of positions begin .. end - 1 of all heads, and each head's largest one so far. */
EDGEC_INLINE void edgec_engine_floats(const edgec_attention_args *a, const edgec_engine_scores *e,
                                      uint32_t begin, uint32_t end, uint32_t core, uint32_t n_cores) {
    const uint32_t kv = a->n_kv_heads, group = a->n_heads / kv;
    const edgec_range mine = edgec_share(end - begin, core, n_cores);
    const float *scale = a->q_scale;
    float *top = edgec_found(a, EDGEC_FOUND_SCORE, 0) + core, *s = a->s;
    uint32_t head = 0;
    EDGEC_UNROLL_1
    for (uint32_t j = 0; j < kv; j++) {
        EDGEC_UNROLL_1
        for (uint32_t left = group; left > 0; left--) {
            float most = begin > 0 ? *top : edgec_float(0xFF800000u); /* minus infinity */
            if (!EDGEC_SELDOM(mine.begin == mine.end)) {
                most = edgec_engine_row(e, head, a->k_scale + j, kv, *scale * a->factor, s,
                                        begin + mine.begin, mine.end - mine.begin, most);
            }
            *top = most;
            top += a->cores;
            s += a->lds;
            scale++;
            head++;
        }
    }
}

/* The largest scale of the values by key/value head: of shares of the cores but core 0, if there are others, whose place gets
 * that of core 1 too. */
EDGEC_INLINE void edgec_engine_scales(const edgec_attention_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t kv = a->n_kv_heads, group = a->n_heads / kv, without = n_cores > 1u;
    const edgec_range mine = edgec_share(a->pos + 1u, core - without, n_cores - without);
    const uint16_t *v_scale = a->v_scale + mine.begin * kv;
    float *to = edgec_found(a, EDGEC_FOUND_SCALE, 0);
    EDGEC_UNROLL_1
    for (uint32_t left = kv; left > 0; left--) {
        const float most =
            edgec_f16_to_f32((uint16_t)edgec_most_scale(v_scale++, kv, mine.end - mine.begin, 0));
        to[core] = most;
        if (core == without) {
            to[0] = most;
        }
        to += group * a->cores;
    }
}

/* All of it, at six positions or more. lines, sums: as in attention_neureka.h */
EDGEC_INLINE void edgec_scores_by_engine(const edgec_attention_args *a, uint8_t *lines, int32_t *sums,
                                         uint32_t core, uint32_t n_cores) {
    const edgec_engine_scores e = edgec_engine_scores_of(a, lines, sums);
    const uint32_t length = a->pos + 1u, all = length / EDGEC_NEUREKA_PIXELS;
    const int halves = all > EDGEC_FIRST_LINES + EDGEC_NEUREKA_PIXELS,
              odd = length % EDGEC_NEUREKA_PIXELS != 0;
    const uint32_t first = halves ? EDGEC_FIRST_LINES : all, cut = first * EDGEC_NEUREKA_PIXELS;
    if (core == 0) {
        edgec_engine_write(&e, 0, first);
    }
    if (core != 0 || n_cores == 1u) {
        edgec_engine_queries(a, &e, core, n_cores);
    }
    hal_barrier();
    if (core == 0) {
        hal_neureka_run();
    }
    if (core != 0 || n_cores == 1u) {
        edgec_engine_scales(a, core, n_cores);
    }
    uint32_t begin = 0, end = halves ? cut : length;
    EDGEC_UNROLL_1
    for (;;) {
        if (core == 0) {
            if (end < length) {
                edgec_engine_write(&e, cut, all - first);
                hal_neureka_run();
            } else if (odd && begin == 0) {
                edgec_engine_write(&e, length - EDGEC_NEUREKA_PIXELS, 1);
                hal_neureka_run();
            }
            hal_neureka_wait(end < length);
        }
        hal_barrier();
        if (core == 0 && odd && end < length) { /* behind the second job */
            edgec_engine_write(&e, length - EDGEC_NEUREKA_PIXELS, 1);
            hal_neureka_run();
        }
        edgec_engine_floats(a, &e, begin, end, core, n_cores);
        if (end == length) {
            return;
        }
        begin = end;
        end = length;
    }
}

#endif
