/* A single row of one group, whose tiles are a job each, for cores with XpulpV2: the rule where a token is generated. What runs
 * once a call comes from slow memory, so the code is short, and between a tile's barrier and its scaling there is next to none.
 */
#ifndef EDGEC_MATMUL_W4A8_NEUREKA_PLAIN_XPULPV2_H
#define EDGEC_MATMUL_W4A8_NEUREKA_PLAIN_XPULPV2_H

#include "matmul_w4a8_neureka_row.h"
#include "matmul_w4a8_neureka_scale_xpulpv2.h"

#if defined(EDGEC_PULP_FLOAT)
#define EDGEC_START_AS_CHANNELS 6u /* of a core, in the time that core 0 takes to start a job */

/* Channels on their way through a core. */
typedef struct {
    const int32_t *acc;
    const float *added;
    float *y;
    const uint32_t *tails; /* a word a channel: weights of the cores' inputs, or sums of their products */
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
/* The same with the cores' inputs: `tail` adds their products to %[v], an instruction with %[q] as its own. */
#define EDGEC_PLAIN_FINISH(tail)                                                                             \
    __asm__ volatile(                                                                                        \
        EDGEC_HWLOOP("0", "%[count]", "9",                                                                   \
            EDGEC_P_LW("%[q]", "4", "%[tails]")                                                              \
            EDGEC_P_LW("%[v]", "4", "%[acc]")                                                                \
            EDGEC_P_LW("%[h]", "4", "%[ready]")                                                              \
            tail                                                                                             \
            "fcvt.s.w %[v], %[v]\n\t"                                                                        \
            EDGEC_P_LW_R("%[q]", "%[step]", "%[added]")                                                      \
            "fmul.s %[v], %[v], %[h]\n\t"                                                                    \
            "fadd.s %[v], %[q], %[v]\n\t"                                                                    \
            EDGEC_P_SW("%[v]", "4", "%[y]"))                                                                 \
        : [ready] "+r"(ready), [acc] "+r"(c->acc), [added] "+r"(c->added), [y] "+r"(c->y),                   \
          [tails] "+r"(c->tails), [h] "=&r"(h), [v] "=&r"(v), [q] "=&r"(q)                                   \
        : [count] "r"(count), [step] "r"(step), [x] "r"(x)                                                   \
        : "memory")
/* clang-format on */

/* x: the word of the cores' inputs, of which c->tails has the weights; or NULL, then it has the sums. */
EDGEC_INLINE void edgec_plain_finish_tail(edgec_plain_channels *c, uint32_t step, const float *ready,
                                          const uint32_t *word, uint32_t count) {
    uint32_t h, v, q;
    const uint32_t x = word ? *word : 0;
    if (word) {
        EDGEC_PLAIN_FINISH(EDGEC_PV_SDOTSP_B("%[v]", "%[q]", "%[x]"));
    } else {
        EDGEC_PLAIN_FINISH("add %[v], %[v], %[q]\n\t");
    }
}

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
    int32_t sums[UNITS]; /* of the cores' inputs, where they are more than a word */
    const uint32_t *const word = a->tail == 4u ? (const uint32_t *)(const void *)(a->x + a->k - 4u) : NULL;
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
        if (core == 0 && more) {
            edgec_plain_start(&next, count * a->line, acc, more);
        }
        const edgec_range mine = EDGEC_SELDOM(a->tail && more)
                                     ? share_behind(count, EDGEC_START_AS_CHANNELS, core, n_cores)
                                     : edgec_share(count, core, n_cores);
        const uint32_t channel = first + mine.begin;
        const uint16_t *w = a->w_scale + channel;
        edgec_plain_channels c = {
            done + mine.begin, (const float *)(const void *)((const char *)added + channel * step),
            a->y + channel, (const uint32_t *)(const void *)(a->w_tail + channel * a->tail)};
        uint32_t left = mine.end - mine.begin, some = edgec_p_minu(left, UNITS);
        if (!EDGEC_SELDOM(some == 0)) {
            w = edgec_plain_ready(w, unit, ready, some);
            if (EDGEC_SELDOM(a->tail > 4u)) {
                tail_pairs(EDGEC_TAIL_OF(a, 0, channel, 0), sums, some, 1);
            }
        }
        /* They are found now, not behind the barrier. */
        __asm__ volatile("" : "+r"(c.acc), "+r"(c.added), "+r"(c.y));
        if (core == 0) {
            hal_neureka_wait(more > 0);
        }
        hal_barrier();
        EDGEC_UNROLL_1
        while (!EDGEC_SELDOM(some == 0)) {
            if (EDGEC_SELDOM(a->tail > 0)) {
                c.tails = word ? c.tails : (const uint32_t *)(const void *)sums;
                edgec_plain_finish_tail(&c, step, ready, word, some);
            } else {
                edgec_plain_finish(&c, step, ready, some);
            }
            left -= some;
            some = edgec_p_minu(left, UNITS);
            if (EDGEC_SELDOM(some > 0)) {
                w = edgec_plain_ready(w, unit, ready, some);
                if (EDGEC_SELDOM(a->tail > 4u)) {
                    tail_pairs(EDGEC_TAIL_OF(a, 0, first + mine.end - left, 0), sums, some, 1);
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
