/* silu(gate) * up straight from N-EUREKA's sums, for cores with XpulpV2: gate and up are never stored. */
#ifndef EDGEC_MATMUL_W4A8_SILU_NEUREKA_GATE_XPULPV2_H
#define EDGEC_MATMUL_W4A8_SILU_NEUREKA_GATE_XPULPV2_H

#include "../matmul_w4a8_neureka/matmul_w4a8_neureka_scale_xpulpv2.h"
#include "edgec_silu_xpulpv2.h"
#include "matmul_w4a8_silu_neureka_call.h"

#if defined(EDGEC_PULP_FLOAT)
#define EDGEC_JOBS_AS_CHANNELS 12u /* of a core, in the time that core 0 takes to start the jobs of a tile */

/* Channels of gate and of up in a row. */
typedef struct {
    const int32_t *gate_acc, *up_acc;
    const float *gate_w, *up_w; /* their scales times 2^-112 */
    float *v;                   /* may be gate_w */
} edgec_gate_span;

/* w_scale [count] as floats that lack 2^112, as scale_span has them: rows and tiles then need not convert them. count: at
 * least 1. Up to 2 bytes behind w_scale are read and not used. */
EDGEC_INLINE void widen(const uint16_t *w_scale, float *w, uint32_t count) {
    uint32_t h, v;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_P_LH("%[h]", "2", "%[from]")
        EDGEC_HWLOOP("0", "%[count]", "4",
            "slli %[v], %[h], 13\n\t"
            EDGEC_P_LH("%[h]", "2", "%[from]")
            "and %[v], %[v], %[mask]\n\t"
            EDGEC_P_SW("%[v]", "4", "%[to]"))
        : [from] "+r"(w_scale), [to] "+r"(w), [h] "=&r"(h), [v] "=&r"(v)
        : [count] "r"(count), [mask] "r"(F16_MASK)
        : "memory");
    /* clang-format on */
}

/* v = silu(gate) * up, where gate = float(gate_acc) * (gate_w * x), and up likewise; x has 2^112 in it. Returns the
 * larger of max |v| and `top`, by their bits doubled: without the sign, numbers are in the order of their bits. count: at
 * least 1. Up to 4 bytes behind what is read are read too.
 *
 * The next instruction but one is the first that gets a float instruction's result without waiting, and a float
 * instruction behind another one waits for a cycle. So two elements are under way, and no cycle is lost: the loop loads,
 * converts and scales gate's sum of the next one (g, w) while it finishes the present one. edgec_silu_row has its table. */
EDGEC_INLINE uint32_t gate_times_up(edgec_gate_span span, uint32_t count, float x, uint32_t top) {
    const uintptr_t lines =
        (uintptr_t)hal_sigmoid_lines + 8u * EDGEC_SIGMOID_MIDDLE - 8u * EDGEC_SIGMOID_MAGIC_BITS;
    uint32_t g, w, u, q, p, t, b, s, r, v = 0, highest, lowest, magic, slopes;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_P_LW("%[g]", "4", "%[gate]")
        EDGEC_P_LW("%[w]", "4", "%[gate_w]")
        "li %[lowest], %[lowest_]\n\t"
        "fcvt.s.w %[g], %[g]\n\t"
        "li %[highest], %[highest_]\n\t"
        "fmul.s %[w], %[w], %[x]\n\t"
        EDGEC_P_LW("%[u]", "4", "%[up]")
        EDGEC_P_LW("%[q]", "4", "%[up_w]")
        "li %[magic], %[magic_]\n\t"
        "addi %[slopes], %[lines], 4\n\t"
        EDGEC_HWLOOP("0", "%[count]", "23",
            "fmul.s %[p], %[g], %[w]\n\t"
            EDGEC_P_LW("%[g]", "4", "%[gate]")
            "fmul.s %[q], %[q], %[x]\n\t"
            EDGEC_P_MINU("%[t]", "%[p]", "%[lowest]")
            "fcvt.s.w %[u], %[u]\n\t"
            EDGEC_P_MIN("%[t]", "%[t]", "%[highest]")
            "fadd.s %[b], %[t], %[magic]\n\t"
            EDGEC_P_LW("%[w]", "4", "%[gate_w]")
            "fmul.s %[r], %[u], %[q]\n\t"
            "slli %[b], %[b], 3\n\t"
            "fcvt.s.w %[g], %[g]\n\t"
            EDGEC_P_LW_RR("%[s]", "%[b]", "%[slopes]")
            "fmul.s %[w], %[w], %[x]\n\t"
            EDGEC_P_LW_RR("%[b]", "%[b]", "%[lines]")
            "fmul.s %[t], %[s], %[t]\n\t"
            EDGEC_P_LW("%[u]", "4", "%[up]")
            "fadd.s %[t], %[t], %[b]\n\t"
            EDGEC_P_LW("%[q]", "4", "%[up_w]")
            "fmul.s %[t], %[t], %[p]\n\t"
            "slli %[s], %[v], 1\n\t"
            "fmul.s %[v], %[t], %[r]\n\t"
            EDGEC_P_MAXU("%[top]", "%[top]", "%[s]")
            EDGEC_P_SW("%[v]", "4", "%[to]"))
        "slli %[v], %[v], 1\n\t"
        EDGEC_P_MAXU("%[top]", "%[top]", "%[v]")
        : [gate] "+r"(span.gate_acc), [up] "+r"(span.up_acc), [gate_w] "+r"(span.gate_w), [up_w] "+r"(span.up_w),
          [to] "+r"(span.v), [top] "+r"(top), [g] "=&r"(g), [w] "=&r"(w), [u] "=&r"(u), [q] "=&r"(q), [p] "=&r"(p),
          [t] "=&r"(t), [b] "=&r"(b), [s] "=&r"(s), [r] "=&r"(r), [v] "+r"(v), [highest] "=&r"(highest),
          [lowest] "=&r"(lowest), [magic] "=&r"(magic), [slopes] "=&r"(slopes)
        : [count] "r"(count), [x] "r"(x), [lines] "r"(lines), [highest_] "i"(EDGEC_SIGMOID_HIGHEST),
          [lowest_] "i"(EDGEC_SIGMOID_LOWEST), [magic_] "i"(EDGEC_SIGMOID_MAGIC_BITS)
        : "memory");
    /* clang-format on */
    return top;
}

/* Whether gate_times_up can be used for `rows` rows from one on. */
EDGEC_INLINE int is_plain_for(const edgec_matmul_w4a8_silu_neureka_args *a, uint32_t rows) {
    uint32_t top = 0, q;
    if (EDGEC_SELDOM(a->groups > 1u || a->bias)) {
        return 0;
    }
    if (rows == 1u) {
        return edgec_abs(a->x_scale[0]) < F16_UNIT_LIMIT;
    }
    const float *x_scale = a->x_scale;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[rows]", "4",
            EDGEC_P_LW("%[q]", "4", "%[x]")
            "nop\n\t"
            "slli %[q], %[q], 1\n\t"
            EDGEC_P_MAXU("%[top]", "%[top]", "%[q]"))
        : [x] "+r"(x_scale), [top] "+r"(top), [q] "=&r"(q)
        : [rows] "r"(rows)
        : "memory");
    /* clang-format on */
    return top < edgec_bits(F16_UNIT_LIMIT) << 1;
}

/* Where the scales of gate's channels are as floats, and how far behind them those of up's: in y, where a row's v does
 * not come, or, of a single row, where it comes behind their use. */
EDGEC_INLINE float *widened(const edgec_matmul_w4a8_silu_neureka_args *a) {
    return a->m > 1u ? a->y + a->n / 2u : a->y;
}

EDGEC_INLINE uint32_t widened_step(const edgec_matmul_w4a8_silu_neureka_args *a) {
    return a->m > 1u ? a->n : a->n / 2u;
}

/* A core's share of the scales: core 0 has none, as it starts jobs meanwhile. All are there when the cores meet for the
 * first tile. */
EDGEC_INLINE void widen_share(const edgec_matmul_w4a8_silu_neureka_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t width = a->n / 2u, others = n_cores - 1u;
    const edgec_range mine = others == 0 ? (edgec_range){0, width} : edgec_share(width, core - 1u, others);
    if ((core == 0 && others > 0) || EDGEC_SELDOM(mine.begin == mine.end)) {
        return;
    }
    const uint16_t *from = a->w_scale + mine.begin;
    float *to = widened(a) + mine.begin;
    EDGEC_UNROLL_1
    for (uint32_t part = 0; part < 2u; part++) {
        widen(from, to, mine.end - mine.begin);
        from += width;
        to += widened_step(a);
    }
}

/* A core's share of a tile. starts: whether core 0 also starts jobs, of the tiles behind. */
EDGEC_INLINE edgec_range tile_share(uint32_t count, int starts, uint32_t core, uint32_t n_cores) {
    return share_behind(count, starts ? EDGEC_JOBS_AS_CHANNELS : 0u, core, n_cores);
}

/* Channels of a row from `channel` on, whose sums of gate begin at acc. */
EDGEC_INLINE edgec_gate_span gate_span_of(const edgec_matmul_w4a8_silu_neureka_args *a, const int32_t *acc,
                                          uint32_t row, uint32_t channel) {
    const float *w = widened(a) + channel;
    return (edgec_gate_span){acc, acc + a->m * a->tile, w, w + widened_step(a), a->y + row * a->n + channel};
}

/* The inputs behind whole blocks, of those channels, of which there is at least one, for gate and for up. */
EDGEC_INLINE void add_tails(const edgec_matmul_w4a8_silu_neureka_args *a, const int32_t *acc, uint32_t row,
                            uint32_t channel, uint32_t count) {
    if (EDGEC_SELDOM(a->tail > 0)) {
        add_tail(EDGEC_TAIL_OF(a, row, channel, 0), acc, count);
        add_tail(EDGEC_TAIL_OF(a, row, channel + a->n / 2u, 0), acc + a->m * a->tile, count);
    }
    if (EDGEC_SELDOM(a->fold > 0)) {
        edgec_neureka_add_folded(EDGEC_FOLDED_OF(a, row, channel), acc, count);
        edgec_neureka_add_folded(EDGEC_FOLDED_OF(a, row, channel + a->n / 2u), acc + a->m * a->tile, count);
    }
}
#endif

#endif
