/* Sums of a strip of channels over a run of groups on XpulpV2: two nested hardware loops, over groups and over blocks.
 *
 *     sums[r][c] = sum over g, ascending, of float32(acc[r][c][g]) * (w_scale[c][g] * x_scale[r][g])
 *
 * A group's integer sums never leave the registers. Through a buffer, and with loops of their own for sums and scales
 * (matmul_w4a8_dots_xpulpv2.h, matmul_w4a8_sums_xpulpv2.h), a channel and group took some 21 cycles besides its dot
 * products; here 10. Float instructions seldom follow each other: two cores share the unit that executes them.
 *
 * For floats in integer registers (zfinx), weights without zero points, and |x_scale| < 65536.
 */
#ifndef EDGEC_MATMUL_W4A8_STRIPS_XPULPV2_H
#define EDGEC_MATMUL_W4A8_STRIPS_XPULPV2_H

#include "edgec_math.h"
#include "edgec_rows_xpulpv2.h"
#include "edgec_unpack.h"

/* What a strip's sums are made of. */
typedef struct {
    const int8_t *x;         /* the first row's inputs */
    const uint8_t *w;        /* the first channel's weights */
    uint32_t blocks;         /* of a group; at least 1 */
    uint32_t groups;         /* at least 1 */
    uint32_t step;           /* bytes from channel to channel of the weights */
    uint32_t back;           /* from the last channel to the first one's next block */
    uint32_t k;              /* bytes from row to row of x */
    uint32_t k_back;         /* from the last row to the first one's next word */
    uint32_t next;           /* bytes from row to row of x_sums and of scales */
    const int32_t *x_sums;   /* [groups], the first row's */
    uintptr_t scales;        /* bytes from behind one of x_sums to its scale */
    const uint16_t *w_scale; /* [groups], the first channel's */
    uint32_t stride;         /* bytes from channel to channel of w_scale */
    float *sums;             /* [rows][strip] of rows `ld` bytes apart */
    uint32_t ld;
    int32_t acc[16]; /* for a tile's own use */
    int32_t *accs;   /* acc */
} edgec_strip;

/* Whether strips serve, as far as numbers decide it. x_scale: [count] */
EDGEC_INLINE uint32_t edgec_strips_serve(const uint8_t *w_zero, const float *x_scale, uint32_t count) {
#if defined(EDGEC_XPULPV2) && !defined(__riscv_zfinx)
    (void)w_zero, (void)x_scale, (void)count;
    return 0;
#else
    uint32_t top =
        w_zero ? 0xFFFFFFFFu : 0u; /* twice the bits without the sign: in the order of the numbers */
    EDGEC_UNROLL_1
    for (; count > 0; count--) {
        top = edgec_p_maxu(top, edgec_bits(*x_scale++) << 1);
    }
    return top < edgec_bits(65536.0f) << 1;
#endif
}

#if defined(EDGEC_XPULPV2) && defined(__riscv_zfinx)

/* Fields of a strip on the stack, without a register that holds its address. */
#define FIELD(offset) #offset " + %[d]"
#define F_X           FIELD(0)
#define F_W           FIELD(4)
#define F_BLOCKS      FIELD(8)
#define F_GROUPS      FIELD(12)
#define F_STEP        FIELD(16)
#define F_BACK        FIELD(20)
#define F_K           FIELD(24)
#define F_K_BACK      FIELD(28)
#define F_NEXT        FIELD(32)
#define F_X_SUMS      FIELD(36)
#define F_SCALES      FIELD(40)
#define F_W_SCALE     FIELD(44)
#define F_STRIDE      FIELD(48)
#define F_SUMS        FIELD(52)
#define F_LD          FIELD(56)
#define F_ACC         FIELD(124)
_Static_assert(offsetof(edgec_strip, blocks) == 8 && offsetof(edgec_strip, step) == 16 &&
                   offsetof(edgec_strip, k) == 24 && offsetof(edgec_strip, next) == 32 &&
                   offsetof(edgec_strip, scales) == 40 && offsetof(edgec_strip, stride) == 48 &&
                   offsetof(edgec_strip, acc) == 60 && offsetof(edgec_strip, accs) == 124,
               "as the loops below read them");

/* clang-format off */
#define T(t)         [t] "=&r"(t)
#define NEXT(word)   EDGEC_P_LW_R(word, "%[step]", "%[w]")
#define LAST(word)   EDGEC_P_LW_R(word, "%[back]", "%[w]")
#define X(word)      EDGEC_P_LW("%[" #word "]", "4", "%[x]")
#define DOT(a, u, x) EDGEC_PV_SDOTUSP_B("%[" #a "]", u, "%[" #x "]")
#define WA           "%[wa]"
#define WB           "%[wb]"

/* One channel's word with 8 inputs, of 4 bits; with 4, of 8 bits. load: of the next channel's word. */
#define W4(a, word, load)                              \
    EDGEC_PV_AND_SCI_B("%[low]", word, "15") load      \
    DOT(a, "%[low]", x0)                               \
    EDGEC_PV_SRL_SCI_B(word, word, "4")                \
    DOT(a, word, x1)
#define W8(a, word, load) load DOT(a, word, x0)
#define BODY_8(W)                                                                                     \
    W(a0, WA, NEXT(WB)) W(a1, WB, NEXT(WA)) W(a2, WA, NEXT(WB)) W(a3, WB, NEXT(WA))                   \
    W(a4, WA, NEXT(WB)) W(a5, WB, NEXT(WA)) W(a6, WA, LAST(WB)) W(a7, WB, "")

/* A channel's product, added to its sum: t holds the scale, and a the integers as a float already. Between its float
 * instructions the next channel's scale comes. A binary16's bits, moved to where a binary32 has its own, are the number
 * times 2^-112 (edgec_math.h); the other factor has 2^112 in advance, exactly, and their product is rounded once, as it
 * is without. */
#define SCALE(i, t, load, shift, mask, convert)                                      \
    "fmul.s " t ", " t ", %[wa]\n\t" load                                            \
    "fmul.s %[a" #i "], %[a" #i "], " t "\n\t" shift                                 \
    "fadd.s %[s" #i "], %[s" #i "], %[a" #i "]\n\t" mask convert
#define SCALE_ON(i, j, t, u)                                                         \
    SCALE(i, t, EDGEC_P_LH_R(u, "%[x1]", "%[x0]"), "slli " u ", " u ", 13\n\t",      \
          "and " u ", " u ", %[mask]\n\t", "fcvt.s.w %[a" #j "], %[a" #j "]\n\t")

/* Where a strip and a group begin. zero: the shift of the middle code. */
#define BEGIN(reg, field) "lw %[" #reg "], " field "\n\t"
#define MIDDLE(a, zero)   "slli %[" #a "], %[" #a "], " zero "\n\tneg %[" #a "], %[" #a "]\n\t"
#define COPY(to, from)    "mv %[" #to "], %[" #from "]\n\t"
#define SW(a, at, to)     "sw %[" #a "], " at "(%[" #to "])\n\t"
#define NO_SUMS                                                                                        \
    "lui %[s0], 0x80000\n\t" /* -0: -0 + p is p for every p */                                         \
    COPY(s1, s0) COPY(s2, s0) COPY(s3, s0) COPY(s4, s0) COPY(s5, s0) COPY(s6, s0) COPY(s7, s0)
#define MASK(reg) "lui %[" #reg "], 0x90000\n\taddi %[" #reg "], %[" #reg "], -1\n\t"
#define UP(reg)   "lui %[" #reg "], 0x77800\n\t"

/* One row and 8 channels, whose floats have registers too. */
#define ONE_ROW(zero, instructions, body, all)                                                         \
    __asm__ volatile(                                                                                  \
        NO_SUMS                                                                                        \
        BEGIN(x, F_X) BEGIN(w, F_W) BEGIN(step, F_STEP) BEGIN(back, F_BACK) BEGIN(sum, F_X_SUMS)       \
        BEGIN(wa, F_GROUPS)                                                                            \
        MASK(mask)                                                                                     \
        EDGEC_HWLOOP("1", "%[wa]", all,                                                                \
            EDGEC_P_LW("%[a0]", "4", "%[sum]")                                                         \
            BEGIN(low, F_BLOCKS)                                                                       \
            MIDDLE(a0, zero)                                                                           \
            COPY(a1, a0) COPY(a2, a0) COPY(a3, a0) COPY(a4, a0) COPY(a5, a0) COPY(a6, a0) COPY(a7, a0) \
            EDGEC_HWLOOP_INNER("0", "%[low]", instructions, body)                                      \
            BEGIN(x1, F_SCALES) BEGIN(x0, F_W_SCALE)                                                   \
            EDGEC_P_LW_RR("%[wa]", "%[x1]", "%[sum]")                                                  \
            UP(low)                                                                                    \
            BEGIN(x1, F_STRIDE)                                                                        \
            "fcvt.s.w %[a0], %[a0]\n\t"                                                                \
            "fmul.s %[wa], %[wa], %[low]\n\t"                                                          \
            "addi %[wb], %[x0], 2\n\t"                                                                 \
            EDGEC_P_LH_R("%[low]", "%[x1]", "%[x0]")                                                   \
            "sw %[wb], " F_W_SCALE "\n\t"                                                              \
            "slli %[low], %[low], 13\n\t"                                                              \
            "and %[low], %[low], %[mask]\n\t"                                                          \
            SCALE_ON(0, 1, "%[low]", WB) SCALE_ON(1, 2, WB, "%[low]")                                  \
            SCALE_ON(2, 3, "%[low]", WB) SCALE_ON(3, 4, WB, "%[low]")                                  \
            SCALE_ON(4, 5, "%[low]", WB) SCALE_ON(5, 6, WB, "%[low]")                                  \
            SCALE_ON(6, 7, "%[low]", WB) SCALE(7, WB, "", "", "", ""))                                 \
        BEGIN(back, F_SUMS)                                                                            \
        SW(s0, "0", back) SW(s1, "4", back) SW(s2, "8", back) SW(s3, "12", back)                       \
        SW(s4, "16", back) SW(s5, "20", back) SW(s6, "24", back) SW(s7, "28", back)                    \
        : T(a0), T(a1), T(a2), T(a3), T(a4), T(a5), T(a6), T(a7), T(s0), T(s1), T(s2), T(s3), T(s4),   \
          T(s5), T(s6), T(s7), T(x), T(w), T(step), T(back), T(x0), T(x1), T(wa), T(wb), T(low),       \
          T(sum), T(mask), [d] "+m"(*d)                                                                \
        :                                                                                              \
        : "memory")

/* Two rows and 4 channels of 4 bits. */
#define W4_2(a, b, word, load)                                               \
    EDGEC_PV_AND_SCI_B("%[low]", word, "15") load                            \
    DOT(a, "%[low]", x0) DOT(b, "%[low]", x2)                                \
    EDGEC_PV_SRL_SCI_B(word, word, "4")                                      \
    DOT(a, word, x1) DOT(b, word, x3)
#define X_2(word) EDGEC_P_LW_RR("%[" #word "]", "%[k]", "%[x]")

/* A channel's two products, added to their sums: t holds the scale; p is free, and then has the next channel's. */
#define SCALE_2(a, b, s, r, t, p, load, shift, mask)                                                   \
    "fmul.s " p ", " t ", %[x0]\n\t"                                                                   \
    "fcvt.s.w %[" #a "], %[" #a "]\n\t"                                                                \
    "fmul.s " t ", " t ", %[x1]\n\t"                                                                   \
    "fcvt.s.w %[" #b "], %[" #b "]\n\t"                                                                \
    "fmul.s %[" #a "], %[" #a "], " p "\n\t" load                                                      \
    "fmul.s %[" #b "], %[" #b "], " t "\n\t" shift                                                     \
    "fadd.s %[" #s "], %[" #s "], %[" #a "]\n\t" mask                                                  \
    "fadd.s %[" #r "], %[" #r "], %[" #b "]\n\t"
#define SCALE_2_ON(a, b, s, r, t, p)                                                                   \
    SCALE_2(a, b, s, r, t, p, EDGEC_P_LH_R(p, "%[x2]", WA), "slli " p ", " p ", 13\n\t",               \
            "and " p ", " p ", %[x3]\n\t")

#define TWO_ROWS                                                                                       \
    __asm__ volatile(                                                                                  \
        NO_SUMS                                                                                        \
        BEGIN(x, F_X) BEGIN(w, F_W) BEGIN(step, F_STEP) BEGIN(back, F_BACK) BEGIN(k, F_K)              \
        BEGIN(wa, F_GROUPS)                                                                            \
        EDGEC_HWLOOP("1", "%[wa]", "109",                                                              \
            BEGIN(x1, F_X_SUMS) BEGIN(x2, F_NEXT) BEGIN(low, F_BLOCKS)                                 \
            "addi %[x3], %[x1], 4\n\t"                                                                 \
            "lw %[a0], 0(%[x1])\n\t"                                                                   \
            EDGEC_P_LW_RR("%[a4]", "%[x2]", "%[x1]")                                                   \
            "sw %[x3], " F_X_SUMS "\n\t"                                                               \
            MIDDLE(a0, "3") COPY(a1, a0) COPY(a2, a0) COPY(a3, a0)                                     \
            MIDDLE(a4, "3") COPY(a5, a4) COPY(a6, a4) COPY(a7, a4)                                     \
            EDGEC_HWLOOP_INNER("0", "%[low]", "32",                                                    \
                NEXT(WA) X_2(x2) X(x0) X_2(x3) X(x1)                                                   \
                W4_2(a0, a4, WA, NEXT(WB)) W4_2(a1, a5, WB, NEXT(WA))                                  \
                W4_2(a2, a6, WA, LAST(WB)) W4_2(a3, a7, WB, ""))                                       \
            BEGIN(x1, F_X_SUMS) BEGIN(x2, F_SCALES) BEGIN(x3, F_NEXT)                                  \
            "add %[x1], %[x1], %[x2]\n\t"                                                              \
            "lw %[x0], 0(%[x1])\n\t"                                                                   \
            EDGEC_P_LW_RR("%[x1]", "%[x3]", "%[x1]")                                                   \
            UP(low)                                                                                    \
            BEGIN(wa, F_W_SCALE)                                                                       \
            "fmul.s %[x0], %[x0], %[low]\n\t"                                                          \
            BEGIN(x2, F_STRIDE)                                                                        \
            "fmul.s %[x1], %[x1], %[low]\n\t"                                                          \
            "addi %[low], %[wa], 2\n\t"                                                                \
            EDGEC_P_LH_R(WB, "%[x2]", WA)                                                              \
            "sw %[low], " F_W_SCALE "\n\t"                                                             \
            MASK(x3)                                                                                   \
            "slli %[wb], %[wb], 13\n\t"                                                                \
            "and %[wb], %[wb], %[x3]\n\t"                                                              \
            SCALE_2_ON(a0, a4, s0, s4, WB, "%[low]") SCALE_2_ON(a1, a5, s1, s5, "%[low]", WB)          \
            SCALE_2_ON(a2, a6, s2, s6, WB, "%[low]")                                                   \
            SCALE_2(a3, a7, s3, s7, "%[low]", WB, "", "", ""))                                         \
        BEGIN(back, F_SUMS)                                                                            \
        SW(s0, "0", back) SW(s1, "4", back) SW(s2, "8", back) SW(s3, "12", back)                       \
        BEGIN(k, F_LD)                                                                                 \
        "add %[back], %[back], %[k]\n\t"                                                               \
        SW(s4, "0", back) SW(s5, "4", back) SW(s6, "8", back) SW(s7, "12", back)                       \
        : T(a0), T(a1), T(a2), T(a3), T(a4), T(a5), T(a6), T(a7), T(s0), T(s1), T(s2), T(s3), T(s4),   \
          T(s5), T(s6), T(s7), T(x), T(w), T(step), T(back), T(k), T(x0), T(x1), T(x2), T(x3), T(wa),  \
          T(wb), T(low), [d] "+m"(*d)                                                                  \
        :                                                                                              \
        : "memory")

/* Four rows and 4 channels of 8 bits: 24 instructions for 64 products, with every register. So sums stay in memory, and
 * what walks x and w goes there while scales are at work. */
#define W8_4(a, b, c, e, word, load) load DOT(a, word, x0) DOT(b, word, x1) DOT(c, word, x2) DOT(e, word, x3)
#define ROW(word)      EDGEC_P_LW_R("%[" #word "]", "%[k]", "%[x]")
#define LAST_ROW(word) EDGEC_P_LW_R("%[" #word "]", "%[k_back]", "%[x]")

/* Integer sums on the stack, as a tile is scaled in a loop: unrolled, it would not fit into a core's 512 B of code. */
#define STORE_4(a, b, c, e, at) \
    "sw %[" #a "], 60 + " at " + %[d]\n\tsw %[" #b "], 64 + " at " + %[d]\n\t"                         \
    "sw %[" #c "], 68 + " at " + %[d]\n\tsw %[" #e "], 72 + " at " + %[d]\n\t"
/* A channel's four rows: float instructions take turns with others. */
#define CHANNEL_4                                                                                      \
    EDGEC_P_LH_R(WA, "%[step]", "%[w]")                                                                \
    EDGEC_P_LW("%[a0]", "4", "%[x]")                                                                   \
    EDGEC_P_LW("%[a1]", "4", "%[x]")                                                                   \
    "slli %[wa], %[wa], 13\n\t"                                                                        \
    "fcvt.s.w %[a0], %[a0]\n\t"                                                                        \
    "and %[wa], %[wa], %[back]\n\t"                                                                    \
    "fcvt.s.w %[a1], %[a1]\n\t"                                                                        \
    EDGEC_P_LW("%[a2]", "4", "%[x]")                                                                   \
    "fmul.s %[a4], %[wa], %[x0]\n\t"                                                                   \
    EDGEC_P_LW("%[a3]", "4", "%[x]")                                                                   \
    "fmul.s %[a5], %[wa], %[x1]\n\t"                                                                   \
    "lw %[a8], 0(%[k])\n\t"                                                                            \
    "fmul.s %[a0], %[a0], %[a4]\n\t"                                                                   \
    "lw %[a9], 0(%[a12])\n\t"                                                                           \
    "fmul.s %[a1], %[a1], %[a5]\n\t"                                                                   \
    "lw %[a10], 0(%[a13])\n\t"                                                                          \
    "fadd.s %[a0], %[a8], %[a0]\n\t"                                                                   \
    "lw %[a11], 0(%[a14])\n\t"                                                                          \
    "fadd.s %[a1], %[a9], %[a1]\n\t"                                                                   \
    EDGEC_P_SW("%[a0]", "4", "%[k]")                                                                   \
    "fcvt.s.w %[a2], %[a2]\n\t"                                                                        \
    EDGEC_P_SW("%[a1]", "4", "%[a12]")                                                                  \
    "fmul.s %[a6], %[wa], %[x2]\n\t"                                                                   \
    "fcvt.s.w %[a3], %[a3]\n\t"                                                                        \
    "fmul.s %[a7], %[wa], %[x3]\n\t"                                                                   \
    "fmul.s %[a2], %[a2], %[a6]\n\t"                                                                   \
    "fmul.s %[a3], %[a3], %[a7]\n\t"                                                                   \
    "fadd.s %[a2], %[a10], %[a2]\n\t"                                                                  \
    "fadd.s %[a3], %[a11], %[a3]\n\t"                                                                  \
    EDGEC_P_SW("%[a2]", "4", "%[a13]")                                                                  \
    EDGEC_P_SW("%[a3]", "4", "%[a14]")

#define FOUR_ROWS                                                                                      \
    __asm__ volatile(                                                                                  \
        BEGIN(x, F_SUMS) BEGIN(k, F_LD)                                                                \
        "lui %[a0], 0x80000\n\t"                                                                       \
        EDGEC_HWLOOP_I("0", "4", "5",                                                                  \
            SW(a0, "0", x) SW(a0, "4", x) SW(a0, "8", x) SW(a0, "12", x) "add %[x], %[x], %[k]\n\t")   \
        BEGIN(wa, F_GROUPS)                                                                            \
        EDGEC_HWLOOP("1", "%[wa]", "137",                                                              \
            BEGIN(x1, F_X_SUMS) BEGIN(x2, F_NEXT)                                                      \
            "addi %[x3], %[x1], 4\n\t"                                                                 \
            EDGEC_P_LW_R("%[a0]", "%[x2]", "%[x1]")                                                    \
            EDGEC_P_LW_R("%[a4]", "%[x2]", "%[x1]")                                                    \
            EDGEC_P_LW_R("%[a8]", "%[x2]", "%[x1]")                                                    \
            EDGEC_P_LW_R("%[a12]", "%[x2]", "%[x1]")                                                   \
            "sw %[x3], " F_X_SUMS "\n\t"                                                               \
            MIDDLE(a0, "7") COPY(a1, a0) COPY(a2, a0) COPY(a3, a0)                                     \
            MIDDLE(a4, "7") COPY(a5, a4) COPY(a6, a4) COPY(a7, a4)                                     \
            MIDDLE(a8, "7") COPY(a9, a8) COPY(a10, a8) COPY(a11, a8)                                   \
            MIDDLE(a12, "7") COPY(a13, a12) COPY(a14, a12) COPY(a15, a12)                              \
            BEGIN(wa, F_BLOCKS)                                                                        \
            BEGIN(x, F_X) BEGIN(w, F_W) BEGIN(step, F_STEP) BEGIN(back, F_BACK)                        \
            BEGIN(k, F_K) BEGIN(k_back, F_K_BACK)                                                      \
            EDGEC_HWLOOP_INNER("0", "%[wa]", "24",                                                     \
                NEXT(WA) ROW(x0) ROW(x1) ROW(x2) LAST_ROW(x3)                                          \
                W8_4(a0, a4, a8, a12, WA, NEXT(WB)) W8_4(a1, a5, a9, a13, WB, NEXT(WA))                \
                W8_4(a2, a6, a10, a14, WA, LAST(WB)) W8_4(a3, a7, a11, a15, WB, ""))                   \
            "sw %[x], " F_X "\n\tsw %[w], " F_W "\n\t"                                                 \
            BEGIN(k, F_X_SUMS) BEGIN(x, F_SCALES) BEGIN(back, F_NEXT)                                  \
            "add %[k], %[k], %[x]\n\t"                                                                 \
            EDGEC_P_LW_R("%[x0]", "%[back]", "%[k]")                                                   \
            EDGEC_P_LW_R("%[x1]", "%[back]", "%[k]")                                                   \
            EDGEC_P_LW_R("%[x2]", "%[back]", "%[k]")                                                   \
            EDGEC_P_LW_R("%[x3]", "%[back]", "%[k]")                                                   \
            UP(wb)                                                                                     \
            "fmul.s %[x0], %[x0], %[wb]\n\t"                                                           \
            BEGIN(w, F_W_SCALE)                                                                        \
            "fmul.s %[x1], %[x1], %[wb]\n\t"                                                           \
            BEGIN(step, F_STRIDE)                                                                      \
            "fmul.s %[x2], %[x2], %[wb]\n\t"                                                           \
            "fmul.s %[x3], %[x3], %[wb]\n\t"                                                           \
            MASK(back)                                                                                 \
            STORE_4(a0, a4, a8, a12, "0") STORE_4(a1, a5, a9, a13, "16")                               \
            STORE_4(a2, a6, a10, a14, "32") STORE_4(a3, a7, a11, a15, "48")                            \
            BEGIN(k, F_SUMS) BEGIN(a15, F_LD) BEGIN(x, F_ACC)                                          \
            "add %[a12], %[k], %[a15]\n\tadd %[a13], %[a12], %[a15]\n\tadd %[a14], %[a13], %[a15]\n\t"   \
            "li %[wb], 4\n\t"                                                                          \
            EDGEC_HWLOOP_INNER("0", WB, "31", CHANNEL_4)                                               \
            BEGIN(wa, F_W_SCALE)                                                                       \
            "addi %[wa], %[wa], 2\n\t"                                                                 \
            "sw %[wa], " F_W_SCALE "\n\t")                                                             \
        : T(a0), T(a1), T(a2), T(a3), T(a4), T(a5), T(a6), T(a7), T(a8), T(a9), T(a10), T(a11),        \
          T(a12), T(a13), T(a14), T(a15), T(x), T(w), T(step), T(back), T(k), T(k_back), T(x0), T(x1), \
          T(x2), T(x3), T(wa), T(wb), [d] "+m"(*d)                                                     \
        :                                                                                              \
        : "memory")

/* d, on the stack, is used up. 1 row and 8 channels, or 2 and 4. */
EDGEC_INLINE void edgec_strip_w4(uint32_t rows, edgec_strip *d) {
    uint32_t a0, a1, a2, a3, a4, a5, a6, a7, s0, s1, s2, s3, s4, s5, s6, s7;
    uint32_t x, w, step, back, k, x0, x1, x2, x3, wa, wb, low, sum, mask;
    if (rows == 1u) {
        ONE_ROW("3", "42", NEXT(WA) X(x0) X(x1) BODY_8(W4), "118");
    } else {
        TWO_ROWS;
    }
}

/* 1 row and 8 channels, or 4 and 4. */
EDGEC_INLINE void edgec_strip_w8(uint32_t rows, edgec_strip *d) {
    uint32_t a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15;
    uint32_t s0, s1, s2, s3, s4, s5, s6, s7;
    uint32_t x, w, step, back, k, k_back, x0, x1, x2, x3, wa, wb, low, sum, mask;
    if (rows == 1u) {
        ONE_ROW("7", "17", NEXT(WA) X(x0) BODY_8(W8), "93");
    } else {
        FOUR_ROWS;
    }
}
/* clang-format on */

#else
EDGEC_INLINE void edgec_strip_any(uint32_t bits, uint32_t rows, uint32_t channels, const edgec_strip *d) {
    const uint32_t block = 32u / bits;
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < channels; c++) {
            float *sum = d->sums + r * (d->ld / 4u) + c;
            const uint8_t *u = d->w + c * d->step;
            const int8_t *x = d->x + r * d->k;
            for (uint32_t g = 0; g < d->groups; g++) {
                const int32_t *x_sum = d->x_sums + r * (d->next / 4u) + g;
                uint32_t acc = (uint32_t)*x_sum * (0u - (1u << (bits - 1u))); /* zero is the middle code */
                for (uint32_t i = 0; i < d->blocks * block; i++) {
                    acc += (uint32_t)(edgec_weight(bits, u + i / block * 4u, i % block) * *x++);
                }
                u += d->blocks * 4u;
                const float scale = edgec_f16_to_f32(d->w_scale[c * (d->stride / 2u) + g]);
                const float x_scale = *(const float *)((uintptr_t)(x_sum + 1) + d->scales);
                const float product = (float)(int32_t)acc * (scale * x_scale);
                *sum = g == 0 ? product : *sum + product;
            }
        }
    }
}
#define edgec_strip_w4(rows, d) edgec_strip_any(4, rows, (rows) == 1u ? 8u : 4u, d)
#define edgec_strip_w8(rows, d) edgec_strip_any(8, rows, (rows) == 1u ? 8u : 4u, d)
#endif

#endif
