/* A single row of one group, whose tiles are a job each, for cores with XpulpV2: the rule where a token is generated. What runs
 * once a call comes from slow memory, so the code is short, and between a tile's barrier and its scaling there is next to none.
 */
#ifndef EDGEC_MATMUL_W4A8_NEUREKA_PLAIN_XPULPV2_H
#define EDGEC_MATMUL_W4A8_NEUREKA_PLAIN_XPULPV2_H

#include "matmul_w4a8_neureka_row.h"
#include "matmul_w4a8_neureka_scale_xpulpv2.h"

#if defined(EDGEC_PULP_FLOAT)
/* Channels on their way through a core. */
typedef struct {
    const int32_t *acc;
    const uint16_t *w;
    const float *added;
    float *y;
} edgec_plain_channels;

/* y = what is added + float(acc) * (w_scale * x_scale) of at least one channel; unit: x_scale times 2^112, which w_scale's
 * bits lack as a float's. */
EDGEC_INLINE void edgec_plain_scale(edgec_plain_channels *c, uint32_t step, float unit, uint32_t count) {
    uint32_t h, v, q;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[count]", "10",
            EDGEC_P_LH("%[h]", "2", "%[w]")
            EDGEC_P_LW("%[v]", "4", "%[acc]")
            "slli %[h], %[h], 13\n\t"
            "fcvt.s.w %[v], %[v]\n\t"
            "and %[h], %[h], %[mask]\n\t"
            "fmul.s %[h], %[h], %[x]\n\t"
            EDGEC_P_LW_R("%[q]", "%[step]", "%[added]")
            "fmul.s %[v], %[v], %[h]\n\t"
            "fadd.s %[v], %[q], %[v]\n\t"
            EDGEC_P_SW("%[v]", "4", "%[y]"))
        : [w] "+r"(c->w), [acc] "+r"(c->acc), [added] "+r"(c->added), [y] "+r"(c->y), [h] "=&r"(h), [v] "=&r"(v),
          [q] "=&r"(q)
        : [count] "r"(count), [step] "r"(step), [x] "r"(unit), [mask] "r"(F16_MASK)
        : "memory");
    /* clang-format on */
}

/* The same in two steps: w_scale * x_scale, while the engine works on the channels; and the rest, when it has. */
EDGEC_INLINE void edgec_plain_ready(edgec_plain_channels *c, float unit, float *ready, uint32_t count) {
    uint32_t h;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[count]", "5",
            EDGEC_P_LH("%[h]", "2", "%[w]")
            "slli %[h], %[h], 13\n\t"
            "and %[h], %[h], %[mask]\n\t"
            "fmul.s %[h], %[h], %[x]\n\t"
            EDGEC_P_SW("%[h]", "4", "%[ready]"))
        : [w] "+r"(c->w), [ready] "+r"(ready), [h] "=&r"(h)
        : [count] "r"(count), [x] "r"(unit), [mask] "r"(F16_MASK)
        : "memory");
    /* clang-format on */
}

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
        const int32_t *const sums = acc;
        acc += a->tile;
        if (acc == end) {
            acc = a->acc;
        }
        if (core == 0 && more) {
            edgec_plain_start(&next, count * a->line, acc, more);
        }
        const edgec_range mine = edgec_share(count, core, n_cores);
        const uint32_t channel = first + mine.begin, channels = mine.end - mine.begin;
        const uint32_t soon = edgec_p_minu(channels, UNITS);
        edgec_plain_channels c = {sums + mine.begin, a->w_scale + channel,
                                  (const float *)(const void *)((const char *)added + channel * step),
                                  a->y + channel};
        if (!EDGEC_SELDOM(soon == 0)) {
            edgec_plain_ready(&c, unit, ready, soon);
        }
        __asm__ volatile(""
                         : "+r"(c.acc), "+r"(c.added),
                           "+r"(c.y)); /* they are found now, not behind the barrier */
        if (core == 0) {
            hal_neureka_wait(more > 0);
        }
        hal_barrier();
        if (!EDGEC_SELDOM(soon == 0)) {
            edgec_plain_finish(&c, step, ready, soon);
        }
        if (EDGEC_SELDOM(channels > UNITS)) {
            edgec_plain_scale(&c, step, unit, channels - UNITS);
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
