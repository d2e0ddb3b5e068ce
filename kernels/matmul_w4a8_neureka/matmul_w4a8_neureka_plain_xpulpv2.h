/* A single row of one group, whose tiles are a job each, for cores with XpulpV2: the rule where a token is generated. What runs
 * once a call comes from slow memory, so the code is short, and between a tile's barrier and its scaling there is next to none.
 */
#ifndef EDGEC_MATMUL_W4A8_NEUREKA_PLAIN_XPULPV2_H
#define EDGEC_MATMUL_W4A8_NEUREKA_PLAIN_XPULPV2_H

#include "matmul_w4a8_neureka_row.h"
#include "matmul_w4a8_neureka_scale_xpulpv2.h"

#if defined(EDGEC_PULP_FLOAT)
/* Channels of a core, in the time that core 0 takes to start a job, and where inputs are folded also to find its place. */
#define EDGEC_START_AS_CHANNELS 6u
#define EDGEC_FOLDS_AS_CHANNELS 16u
#define EDGEC_WORDS_AT_ONCE     2u /* of the cores' inputs, that are multiplied as channels are scaled */

/* Channels on their way through a core. */
typedef struct {
    const int32_t *acc;
    const float *added;
    float *y;
    const uint32_t *weights; /* of the cores' inputs, if they are few: so many words a channel */
    const int32_t *sums;     /* what folded inputs give, or the cores' if they are many; or NULL */
} edgec_plain_channels;

/* w_scale * x_scale of at least one channel; unit: x_scale times 2^112, which w_scale's bits lack as a float's. Returns where
 * the next channel's w_scale is. */
EDGEC_INLINE const uint16_t *edgec_plain_ready(const uint16_t *w, float unit, float *ready, uint32_t count) {
    uint32_t h;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[count]", "5",
            EDGEC_P_LH("%[h]", "2", "%[w]")
            "slli %[h], %[h], 13\n\t"
            "and %[h], %[h], %[mask]\n\t"
            "fmul.s %[h], %[h], %[x]\n\t"
            EDGEC_P_SW("%[h]", "4", "%[ready]"))
        : [w] "+r"(w), [ready] "+r"(ready), [h] "=&r"(h)
        : [count] "r"(count), [x] "r"(unit), [mask] "r"(F16_MASK)
        : "memory");
    /* clang-format on */
    return w;
}

/* y = what is added + float(acc) * ready of at least one channel; step: bytes from what is added to one to the next one. */
EDGEC_INLINE void edgec_plain_finish(edgec_plain_channels *c, uint32_t step, const float *ready,
                                     uint32_t count) {
    uint32_t h, v, q;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[count]", "7",
            EDGEC_P_LW("%[v]", "4", "%[acc]")
            EDGEC_P_LW("%[h]", "4", "%[ready]")
            "fcvt.s.w %[v], %[v]\n\t"
            EDGEC_P_LW_R("%[q]", "%[step]", "%[added]")
            "fmul.s %[v], %[v], %[h]\n\t"
            "fadd.s %[v], %[q], %[v]\n\t"
            EDGEC_P_SW("%[v]", "4", "%[y]"))
        : [ready] "+r"(ready), [acc] "+r"(c->acc), [added] "+r"(c->added), [y] "+r"(c->y), [h] "=&r"(h), [v] "=&r"(v),
          [q] "=&r"(q)
        : [count] "r"(count), [step] "r"(step)
        : "memory");
    /* clang-format on */
}

/* clang-format off */
/* The same with inputs behind whole blocks: `first` loads what `then` adds to %[v], the accumulator, from %[q] and %[p] on, `all`
 * instructions with them; behind those what they use, and nothing else, for each operand takes instructions. */
#define EDGEC_PLAIN_FINISH(all, first, then, ...)                                                            \
    __asm__ volatile(                                                                                        \
        EDGEC_HWLOOP("0", "%[count]", all,                                                                   \
            first                                                                                            \
            EDGEC_P_LW("%[v]", "4", "%[acc]")                                                                \
            EDGEC_P_LW("%[h]", "4", "%[ready]")                                                              \
            then                                                                                             \
            "fcvt.s.w %[v], %[v]\n\t"                                                                        \
            EDGEC_P_LW_R("%[q]", "%[step]", "%[added]")                                                      \
            "fmul.s %[v], %[v], %[h]\n\t"                                                                    \
            "fadd.s %[v], %[q], %[v]\n\t"                                                                    \
            EDGEC_P_SW("%[v]", "4", "%[y]"))                                                                 \
        : [ready] "+r"(ready), [acc] "+r"(c->acc), [added] "+r"(c->added), [y] "+r"(c->y), [h] "=&r"(h),     \
          [v] "=&r"(v), [q] "=&r"(q), __VA_ARGS__                                                            \
        : [count] "r"(count), [step] "r"(step)                                                               \
        : "memory")
#define EDGEC_PLAIN_SUM               EDGEC_P_LW("%[p]", "4", "%[sums]")
#define EDGEC_PLAIN_ADD               "add %[v], %[v], %[p]\n\t"
#define EDGEC_PLAIN_WORD(to)          EDGEC_P_LW("%[" to "]", "4", "%[weights]")
#define EDGEC_PLAIN_TIMES(weights, x) EDGEC_PV_SDOTSP_B("%[v]", "%[" weights "]", "%[" x "]")

/* x: the cores' inputs, if they are few words. */
EDGEC_INLINE void edgec_plain_finish_apart(edgec_plain_channels *c, uint32_t step, const float *ready,
                                           const uint32_t *x, uint32_t words, uint32_t count) {
    uint32_t x0 = words > 0 ? x[0] : 0, x1 = words > 1u ? x[1] : 0, h, v, q, p;
    if (words == 0 && c->sums) {
        EDGEC_PLAIN_FINISH("9", EDGEC_PLAIN_SUM, EDGEC_PLAIN_ADD, [sums] "+r"(c->sums), [p] "=&r"(p));
    } else if (words == 1u && c->sums) {
        EDGEC_PLAIN_FINISH("11", EDGEC_PLAIN_SUM EDGEC_PLAIN_WORD("q"), EDGEC_PLAIN_ADD EDGEC_PLAIN_TIMES("q", "x0"),
            [sums] "+r"(c->sums), [p] "=&r"(p), [weights] "+r"(c->weights), [x0] "+r"(x0));
    } else if (words == 1u) {
        EDGEC_PLAIN_FINISH("9", EDGEC_PLAIN_WORD("q"), EDGEC_PLAIN_TIMES("q", "x0"), [weights] "+r"(c->weights),
            [x0] "+r"(x0));
    } else if (c->sums) {
        EDGEC_PLAIN_FINISH("13", EDGEC_PLAIN_SUM EDGEC_PLAIN_WORD("q"),
            EDGEC_PLAIN_ADD EDGEC_PLAIN_WORD("p") EDGEC_PLAIN_TIMES("q", "x0") EDGEC_PLAIN_TIMES("p", "x1"),
            [sums] "+r"(c->sums), [p] "=&r"(p), [weights] "+r"(c->weights), [x0] "+r"(x0), [x1] "+r"(x1));
    } else {
        EDGEC_PLAIN_FINISH("11", EDGEC_PLAIN_WORD("q") EDGEC_PLAIN_WORD("p"),
            EDGEC_PLAIN_TIMES("q", "x0") EDGEC_PLAIN_TIMES("p", "x1"),
            [p] "=&r"(p), [weights] "+r"(c->weights), [x0] "+r"(x0), [x1] "+r"(x1));
    }
}
/* clang-format on */

/* By core 0: the job of `count` channels from `first` on, which `next` is of the call's. */
EDGEC_APART void edgec_plain_start(edgec_neureka_next *next, uint32_t offset, int32_t *acc, uint32_t count) {
    next->w += offset;
    next->y = acc;
    edgec_neureka_channels(next, count);
    hal_neureka_start(next);
}

EDGEC_COMPACT static void edgec_plain_team(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_KNOWN(edgec_matmul_w4a8_neureka_args, a, args);
    const float nothing = -0.0f; /* added, it changes no number, not even -0 */
    const float unit = *a->x_scale * F16_UNIT, *added = &nothing;
    float ready[UNITS];
    int32_t found
        [UNITS]; /* sums of the products of the cores' inputs, where they are many: then none are folded */
    const uint32_t *const x = (const uint32_t *)(const void *)(a->x + a->k - a->tail);
    const uint32_t words = a->tail <= 4u * EDGEC_WORDS_AT_ONCE ? a->tail / 4u : 0;
    const int many = a->tail > 0 && words == 0;
    uint32_t step = 0, first = 0, count = a->first;
    int32_t *acc = a->acc, *const end = acc + EDGEC_NEUREKA_TILES * a->tile;
    if (a->addend || a->bias) { /* not both; sums of two numbers do not depend on their order */
        added = a->addend ? a->addend : a->bias;
        step = sizeof(float);
    }
    edgec_neureka_next next; /* core 0's */
    next.x = a->x;
    next.w = a->w;
    next.shape = a->shape;
    next.rest = a->rest;
    next.passes = a->passes;
    for (;;) {
        const uint32_t behind = first + count, more = edgec_neureka_count(a->tile, a->n - behind);
        const int32_t *const done = acc;
        acc += a->tile;
        if (acc == end) {
            acc = a->acc;
        }
        /* Behind the first job and that of folded inputs there is no place yet: the channels are made ready first. */
        const int later = EDGEC_SELDOM(a->fold && first == 0);
        if (core == 0 && more && !later) {
            edgec_plain_start(&next, count * a->line, acc, more);
        }
        const uint32_t starts = a->fold ? EDGEC_FOLDS_AS_CHANNELS : EDGEC_START_AS_CHANNELS;
        const edgec_range mine = EDGEC_SELDOM((a->tail || a->fold) && more)
                                     ? share_behind(count, starts, core, n_cores)
                                     : edgec_share(count, core, n_cores);
        const uint32_t channel = first + mine.begin;
        const uint16_t *w = a->w_scale + channel;
        edgec_plain_channels c = {
            done + mine.begin, (const float *)(const void *)((const char *)added + channel * step),
            a->y + channel, (const uint32_t *)(const void *)(a->w_tail + channel * a->tail),
            many      ? found
            : a->fold ? EDGEC_FOLDED_OF(a, 0, channel)
                      : NULL};
        uint32_t left = mine.end - mine.begin, some = edgec_p_minu(left, UNITS);
        if (!EDGEC_SELDOM(some == 0)) {
            w = edgec_plain_ready(w, unit, ready, some);
            if (EDGEC_SELDOM(many)) {
                tail_pairs(EDGEC_TAIL_OF(a, 0, channel, 0), found, some, 1);
            }
        }
        /* They are found now, not behind the barrier. */
        __asm__ volatile("" : "+r"(c.acc), "+r"(c.added), "+r"(c.y));
        if (later && core == 0 && more) {
            edgec_plain_start(&next, count * a->line, acc, more);
        }
        if (core == 0) {
            hal_neureka_wait(more > 0);
        }
        hal_barrier();
        EDGEC_UNROLL_1
        while (!EDGEC_SELDOM(some == 0)) {
            if (EDGEC_SELDOM(a->tail > 0 || a->fold > 0)) {
                edgec_plain_finish_apart(&c, step, ready, x, words, some);
            } else {
                edgec_plain_finish(&c, step, ready, some);
            }
            left -= some;
            some = edgec_p_minu(left, UNITS);
            if (EDGEC_SELDOM(some > 0)) {
                w = edgec_plain_ready(w, unit, ready, some);
                if (EDGEC_SELDOM(many)) {
                    c.sums = found;
                    tail_pairs(EDGEC_TAIL_OF(a, 0, first + mine.end - left, 0), found, some, 1);
                }
            }
        }
        if (!more) {
            return;
        }
        first = behind;
        count = more;
    }
}
#endif

#endif
