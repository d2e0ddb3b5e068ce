/* The scaling of N-EUREKA's sums for cores with XpulpV2, in hardware loops. */
#ifndef EDGEC_MATMUL_W4A8_NEUREKA_SCALE_XPULPV2_H
#define EDGEC_MATMUL_W4A8_NEUREKA_SCALE_XPULPV2_H

#include "edgec_rows_xpulpv2.h"
#include "matmul_w4a8_neureka_tail_xpulpv2.h"
#include "matmul_w4a8_neureka_tiles.h"

#if defined(EDGEC_PULP_FLOAT)
#define F16_MASK       0x8FFFFFFFu /* edgec_f16_to_f32 */
#define F16_UNIT       0x1p112f
#define F16_UNIT_LIMIT 65536.0f /* below it a scale times that is finite */

#define UNITS 32u /* groups whose scales are made ready */

/* A core's share of a tile's channels, where core 0 has something else to do that takes as long as `others` channels. */
EDGEC_INLINE edgec_range share_behind(uint32_t count, uint32_t others, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_share(count + others, core, n_cores); /* as if core 0 had them in front */
    return (edgec_range){edgec_p_maxu(mine.begin, others) - others, edgec_p_maxu(mine.end, others) - others};
}

/* Whether a row has one group, nothing to add, and a scale that stays finite with 2^112 in it. */
EDGEC_INLINE int is_plain(const edgec_neureka_call *c, uint32_t row) {
    const edgec_neureka_args *a = c->a;
    return c->a->groups == 1u && !c->addend && !a->bias && edgec_abs(a->x_scale[row]) < F16_UNIT_LIMIT;
}

/* scale_row of one row or of two, `row` and the next one, that are plain: two convert w_scale once. */
EDGEC_APART void scale_plain(const edgec_neureka_call *c, const int32_t *acc, uint32_t row, uint32_t channel,
                             uint32_t count, int two) {
    const edgec_neureka_args *a = c->a;
    const int32_t *acc2 = acc + a->tile;
    const uint16_t *w = a->w_scale + channel;
    float *y = a->y + row * a->n + channel, *y2 = y + a->n;
    uint32_t h, u, v, q;
    if (two) {
        /* clang-format off */
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[count]", "13",
                EDGEC_P_LH("%[h]", "2", "%[w]")
                EDGEC_P_LW("%[v]", "4", "%[acc]")
                EDGEC_P_LW("%[q]", "4", "%[acc2]")
                "slli %[h], %[h], 13\n\t"
                "fcvt.s.w %[v], %[v]\n\t"
                "and %[h], %[h], %[mask]\n\t"
                "fmul.s %[u], %[h], %[x]\n\t"
                "fcvt.s.w %[q], %[q]\n\t"
                "fmul.s %[h], %[h], %[x2]\n\t"
                "fmul.s %[v], %[v], %[u]\n\t"
                "fmul.s %[q], %[q], %[h]\n\t"
                EDGEC_P_SW("%[v]", "4", "%[y]")
                EDGEC_P_SW("%[q]", "4", "%[y2]"))
            : [w] "+r"(w), [acc] "+r"(acc), [acc2] "+r"(acc2), [y] "+r"(y), [y2] "+r"(y2), [h] "=&r"(h),
              [u] "=&r"(u), [v] "=&r"(v), [q] "=&r"(q)
            : [count] "r"(count), [x] "r"(a->x_scale[row] * F16_UNIT), [x2] "r"(a->x_scale[row + 1u] * F16_UNIT),
              [mask] "r"(F16_MASK)
            : "memory");
        /* clang-format on */
    } else {
        /* clang-format off */
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[count]", "8",
                EDGEC_P_LH("%[h]", "2", "%[w]")
                EDGEC_P_LW("%[v]", "4", "%[acc]")
                "slli %[h], %[h], 13\n\t"
                "fcvt.s.w %[v], %[v]\n\t"
                "and %[h], %[h], %[mask]\n\t"
                "fmul.s %[h], %[h], %[x]\n\t"
                "fmul.s %[v], %[v], %[h]\n\t"
                EDGEC_P_SW("%[v]", "4", "%[y]"))
            : [w] "+r"(w), [acc] "+r"(acc), [y] "+r"(y), [h] "=&r"(h), [v] "=&r"(v)
            : [count] "r"(count), [x] "r"(a->x_scale[row] * F16_UNIT), [mask] "r"(F16_MASK)
            : "memory");
        /* clang-format on */
    }
}

/* Channels of a row: what is needed to scale them, found while the engine still works on them. */
typedef struct {
    const int32_t *acc;
    const uint16_t *w;
    const float *x_scale;
    const float *added;
    float *y;
    uint32_t step; /* bytes from what is added to one channel to that of the next */
    uint32_t count;
} edgec_neureka_span;

/* `count` channels of a row: from the one whose sums begin at acc on, which is `channel` of all. */
EDGEC_INLINE edgec_neureka_span span_of(const edgec_neureka_call *c, const int32_t *acc, uint32_t row,
                                        uint32_t channel, uint32_t count) {
    const edgec_neureka_args *a = c->a;
    const uint32_t groups = c->a->groups, at = row * a->n + channel;
    edgec_neureka_span s = {
        acc, a->w_scale + channel * groups, a->x_scale + row * groups, &c->nothing, a->y + at, 0, count};
    if (c->addend) {
        s.added = c->addend + at;
        s.step = sizeof(float);
    } else if (a->bias) { /* sums of two numbers do not depend on their order */
        s.added = a->bias + channel;
        s.step = sizeof(float);
    }
    return s;
}

/* x_scale * 2^112 of each group: units. Whether there is room for them and all are finite. */
EDGEC_INLINE int units_of(const float *x_scale, uint32_t groups, float *units) {
    uint32_t top = 0, q, h;
    if (groups > UNITS) {
        return 0;
    }
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[groups]", "6",
            EDGEC_P_LW("%[q]", "4", "%[x]")
            "nop\n\t"
            "slli %[h], %[q], 1\n\t"
            EDGEC_P_MAXU("%[top]", "%[top]", "%[h]")
            "fmul.s %[q], %[q], %[unit]\n\t"
            EDGEC_P_SW("%[q]", "4", "%[units]"))
        : [x] "+r"(x_scale), [units] "+r"(units), [top] "+r"(top), [q] "=&r"(q), [h] "=&r"(h)
        : [groups] "r"(groups), [unit] "r"(F16_UNIT)
        : "memory");
    /* clang-format on */
    return top < edgec_bits(F16_UNIT_LIMIT) << 1;
}

/* Whether all x_scale are so small that they stay finite times 2^112. */
EDGEC_INLINE int all_finite(const float *x_scale, uint32_t groups) {
    uint32_t top = 0;
    EDGEC_UNROLL_1
    for (uint32_t g = 0; g < groups; g++) {
        top = edgec_p_maxu(top, edgec_bits(x_scale[g]) << 1);
    }
    return top < edgec_bits(F16_UNIT_LIMIT) << 1;
}

/* One group's sums of channels of a row, at least one, and what they are added to; steps are bytes from one channel's to
 * the next one's. */
typedef struct {
    const int32_t *acc;
    const uint16_t *w;
    const float *before; /* what the groups before give */
    uint32_t before_step;
    const float *added;
    uint32_t added_step;
    float *to;
    uint32_t count;
} edgec_neureka_group;

/* to = what is added + (what the groups before give + float(acc) * (w_scale * x_scale)). w_step: bytes from one channel's
 * w_scale to the next one's; unit: x_scale times 2^112, which w_scale's bits lack as a float's. */
EDGEC_INLINE void scale_group(const edgec_neureka_group *g, uint32_t w_step, float unit) {
    const int32_t *acc = g->acc;
    const uint16_t *w = g->w;
    const float *before = g->before, *added = g->added;
    float *to = g->to;
    uint32_t h, v, p, q;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[count]", "12",
            EDGEC_P_LH_R("%[h]", "%[w_step]", "%[w]")
            EDGEC_P_LW("%[v]", "4", "%[acc]")
            "slli %[h], %[h], 13\n\t"
            "fcvt.s.w %[v], %[v]\n\t"
            "and %[h], %[h], %[mask]\n\t"
            "fmul.s %[h], %[h], %[x]\n\t"
            EDGEC_P_LW_R("%[p]", "%[before_step]", "%[before]")
            "fmul.s %[v], %[v], %[h]\n\t"
            EDGEC_P_LW_R("%[q]", "%[added_step]", "%[added]")
            "fadd.s %[v], %[p], %[v]\n\t"
            "fadd.s %[v], %[q], %[v]\n\t"
            EDGEC_P_SW("%[v]", "4", "%[to]"))
        : [w] "+r"(w), [acc] "+r"(acc), [before] "+r"(before), [added] "+r"(added), [to] "+r"(to), [h] "=&r"(h),
          [v] "=&r"(v), [p] "=&r"(p), [q] "=&r"(q)
        : [count] "r"(g->count), [w_step] "r"(w_step), [before_step] "r"(g->before_step),
          [added_step] "r"(g->added_step), [x] "r"(unit), [mask] "r"(F16_MASK)
        : "memory");
    /* clang-format on */
}

/* y = what is added + the sum over groups of float(acc) * (w_scale * x_scale), for at least one channel.
 *
 * Two cores share a float unit: their instructions for it go on without waiting where others lie between. x_scale takes
 * 2^112, which w_scale's bits lack as a float's, in advance. */
EDGEC_INLINE void scale_span(uint32_t groups, uint32_t tile, const edgec_neureka_span *span) {
    const uint32_t count = span->count, step = span->step;
    const int32_t *acc = span->acc;
    const uint16_t *w = span->w;
    const float *x_scale = span->x_scale, *added = span->added;
    float *y = span->y;
    uint32_t h, v, q;
    if (groups == 1u && edgec_abs(*x_scale) < F16_UNIT_LIMIT) {
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
            : [w] "+r"(w), [acc] "+r"(acc), [added] "+r"(added), [y] "+r"(y), [h] "=&r"(h), [v] "=&r"(v),
              [q] "=&r"(q)
            : [count] "r"(count), [step] "r"(step), [x] "r"(*x_scale * F16_UNIT), [mask] "r"(F16_MASK)
            : "memory");
        /* clang-format on */
        return;
    }
    const uint32_t stride = (uint32_t)sizeof(float) * tile;
    float units[UNITS];
    const float *x;
    uint32_t s;
    /* clang-format off */
    /* scales: [groups]; of all that is in the loops `lift` takes one instruction, or none. */
#define SCALE_GROUPS(all, each, scales, lift)                                                                      \
    __asm__ volatile(                                                                                              \
        EDGEC_HWLOOP("1", "%[count]", all,                                                                         \
            "mv %[x], %[from]\n\t"                                                                                 \
            "lui %[v], 0x80000\n\t" /* -0 + p is p for every p */                                                  \
            EDGEC_HWLOOP_INNER("0", "%[groups]", each,                                                             \
                EDGEC_P_LH("%[h]", "2", "%[w]")                                                                    \
                EDGEC_P_LW_R("%[q]", "%[stride]", "%[acc]")                                                        \
                "slli %[h], %[h], 13\n\t"                                                                          \
                "fcvt.s.w %[q], %[q]\n\t"                                                                          \
                EDGEC_P_LW("%[s]", "4", "%[x]")                                                                    \
                "and %[h], %[h], %[mask]\n\t"                                                                      \
                lift                                                                                               \
                "fmul.s %[h], %[h], %[s]\n\t"                                                                      \
                "fmul.s %[q], %[q], %[h]\n\t"                                                                      \
                "fadd.s %[v], %[v], %[q]\n\t")                                                                     \
            EDGEC_P_LW_R("%[h]", "%[step]", "%[added]")                                                            \
            "add %[acc], %[acc], %[back]\n\t"                                                                      \
            "fadd.s %[v], %[h], %[v]\n\t"                                                                          \
            EDGEC_P_SW("%[v]", "4", "%[y]"))                                                                       \
        : [w] "+r"(w), [acc] "+r"(acc), [added] "+r"(added), [y] "+r"(y), [x] "=&r"(x), [h] "=&r"(h),              \
          [v] "=&r"(v), [q] "=&r"(q), [s] "=&r"(s)                                                                 \
        : [count] "r"(count), [groups] "r"(groups), [from] "r"(scales), [stride] "r"(stride),                      \
          [back] "r"(4u - groups * stride), [step] "r"(step), [mask] "r"(F16_MASK), [unit] "r"(F16_UNIT)           \
        : "memory")
    if (!EDGEC_SELDOM(!units_of(x_scale, groups, units))) {
        SCALE_GROUPS("16", "9", units, "");
    } else {
        SCALE_GROUPS("17", "10", x_scale, "fmul.s %[h], %[h], %[unit]\n\t");
    }
#undef SCALE_GROUPS
    /* clang-format on */
}

EDGEC_APART void scale_row(const edgec_neureka_call *c, const int32_t *acc, uint32_t row, uint32_t channel,
                           uint32_t count) {
    const edgec_neureka_span span = span_of(c, acc, row, channel, count);
    scale_span(c->a->groups, c->a->tile, &span);
}

/* scale_row of two rows, `row` and the next one, with several groups: w_scale is converted once. Whether their scales allow
 * it. Instructions of a group's two products, of which 8 are of floats: 15 instead of 18. */
EDGEC_APART int scale_pair(const edgec_neureka_call *c, const int32_t *acc, uint32_t row, uint32_t channel,
                           uint32_t count) {
    const uint32_t groups = c->a->groups, tile = c->a->tile, stride = (uint32_t)sizeof(float) * tile;
    const edgec_neureka_span one = span_of(c, acc, row, channel, count);
    const edgec_neureka_span two = span_of(c, acc + groups * tile, row + 1u, channel, count);
    float units[2][UNITS];
    if (!units_of(one.x_scale, groups, units[0]) || !units_of(two.x_scale, groups, units[1])) {
        return 0;
    }
    const int32_t *acc2 = two.acc;
    const uint16_t *w = one.w;
    const float *added = one.added, *added2 = two.added, *x, *x2;
    float *y = one.y, *y2 = two.y;
    uint32_t h, v, v2, q, q2, s, s2;
    acc = one.acc;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("1", "%[count]", "32",
            "mv %[x], %[from]\n\t"
            "addi %[x2], %[from], %[second]\n\t"
            "lui %[v], 0x80000\n\t" /* -0 + p is p for every p */
            "lui %[v2], 0x80000\n\t"
            "lui %[s], 0x80000\n\t"
            "lui %[s2], 0x80000\n\t"
            EDGEC_HWLOOP_INNER("0", "%[groups]", "15", /* s, s2: products of the group before */
                EDGEC_P_LH("%[h]", "2", "%[w]")
                EDGEC_P_LW_R("%[q]", "%[stride]", "%[acc]")
                "slli %[h], %[h], 13\n\t"
                "fadd.s %[v], %[v], %[s]\n\t"
                EDGEC_P_LW("%[s]", "4", "%[x]")
                "fcvt.s.w %[q], %[q]\n\t"
                "and %[h], %[h], %[mask]\n\t"
                "fadd.s %[v2], %[v2], %[s2]\n\t"
                EDGEC_P_LW("%[s2]", "4", "%[x2]")
                "fmul.s %[s], %[h], %[s]\n\t"
                EDGEC_P_LW_R("%[q2]", "%[stride]", "%[acc2]")
                "fmul.s %[s2], %[h], %[s2]\n\t"
                "fcvt.s.w %[q2], %[q2]\n\t"
                "fmul.s %[s], %[q], %[s]\n\t"
                "fmul.s %[s2], %[q2], %[s2]\n\t")
            EDGEC_P_LW_R("%[q]", "%[step]", "%[added]")
            "fadd.s %[v], %[v], %[s]\n\t"
            EDGEC_P_LW_R("%[q2]", "%[step]", "%[added2]")
            "fadd.s %[v2], %[v2], %[s2]\n\t"
            "add %[acc], %[acc], %[back]\n\t"
            "fadd.s %[v], %[q], %[v]\n\t"
            "add %[acc2], %[acc2], %[back]\n\t"
            "fadd.s %[v2], %[q2], %[v2]\n\t"
            EDGEC_P_SW("%[v]", "4", "%[y]")
            EDGEC_P_SW("%[v2]", "4", "%[y2]"))
        : [w] "+r"(w), [acc] "+r"(acc), [acc2] "+r"(acc2), [added] "+r"(added), [added2] "+r"(added2), [y] "+r"(y),
          [y2] "+r"(y2), [x] "=&r"(x), [x2] "=&r"(x2), [h] "=&r"(h), [v] "=&r"(v), [v2] "=&r"(v2), [q] "=&r"(q),
          [q2] "=&r"(q2), [s] "=&r"(s), [s2] "=&r"(s2)
        : [count] "r"(count), [groups] "r"(groups), [from] "r"(units), [second] "i"(sizeof(units[0])),
          [stride] "r"(stride), [back] "r"(4u - groups * stride), [step] "r"(one.step), [mask] "r"(F16_MASK)
        : "memory");
    /* clang-format on */
    return 1;
}

/* Some rows of `count` channels; acc: the first row's. */
EDGEC_APART void scale_rows(const edgec_neureka_call *c, const int32_t *acc, edgec_range rows,
                            uint32_t channel, uint32_t count) {
    const uint32_t step = c->a->groups * c->a->tile;
    EDGEC_UNROLL_1
    for (uint32_t row = rows.begin; row < rows.end && EDGEC_SELDOM(c->a->tail > 0 || c->a->fold > 0); row++) {
        EDGEC_ADD_TAILS(add_tail, c->a, acc + (row - rows.begin) * step, row, channel, count);
    }
    EDGEC_UNROLL_1
    for (uint32_t row = rows.begin; row < rows.end; row++) {
        if (!is_plain(c, row)) {
            if (c->a->groups > 1u && row + 1u < rows.end && scale_pair(c, acc, row, channel, count)) {
                row++;
                acc += step;
            } else {
                scale_row(c, acc, row, channel, count);
            }
        } else if (row + 1u < rows.end && is_plain(c, row + 1u)) {
            scale_plain(c, acc, row++, channel, count, 1);
            acc += step;
        } else {
            scale_plain(c, acc, row, channel, count, 0);
        }
        acc += step;
    }
}
#endif

/* All rows of `count` channels, of which there may be none: from the one whose sums begin at acc on, which is `channel`
 * of all. */
EDGEC_INLINE void scale_channels(const edgec_neureka_call *c, const int32_t *acc, uint32_t channel,
                                 uint32_t count) {
    const edgec_neureka_args *a = c->a;
    if (EDGEC_SELDOM(count == 0)) {
        return;
    }
#if defined(EDGEC_PULP_FLOAT)
    if (!EDGEC_SELDOM(c->addend && a->bias)) {
        if (a->m == 1u) { /* in the code that all shapes share, which is there already */
            EDGEC_ADD_TAILS(add_tail, c->a, acc, 0, channel, count);
            scale_row(c, acc, 0, channel, count);
        } else {
            scale_rows(c, acc, (edgec_range){0, a->m}, channel, count);
        }
        return;
    }
#endif
    EDGEC_UNROLL_1
    for (uint32_t row = 0; row < a->m; row++) {
        const int32_t *const sums = acc + row * c->a->groups * a->tile;
        EDGEC_ADD_TAILS(edgec_neureka_add_tail, c->a, sums, row, channel, count);
        edgec_neureka_scale(c, sums, row, channel, count);
    }
}

#endif
