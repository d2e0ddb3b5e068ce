/* Dot products of int8 rows with packed 4- and 8-bit weights on XpulpV2, in hardware loops.
 *
 * A loop adds up the sums of some rows of x and some output channels. Weights of 8 bits are a word's bytes and meet 4
 * inputs. Weights of 4 bits (edgec_unpack.h) are a word's low nibbles, elements 0 .. 3 of a block, and its high ones,
 * elements 4 .. 7: a mask and a shift of bytes make two words of bytes. Channels share the loads of x, rows those and
 * the unpacking of weights. Instructions for 4 products:
 *
 *     rows x channels     1x8      1x4      2x4      2x8
 *     4 bits              2.63     2.75     2
 *     8 bits              2.13     2.25     1.75     1.63
 *
 * Loads lie two instructions before the use of what they load. The weights of a strip's channels lie `step` bytes apart
 * and are walked by one pointer: a step from channel to channel, then one back to the first channel's next block. Sums
 * end in memory, and what a loop needs comes from there, so few registers are taken from the code around it and that
 * is short. On Siracusa a core fetches from 512 B of its own, then from 4 KiB that are shared; what is not there costs
 * some 20 cycles for each 16 B.
 */
#ifndef EDGEC_MATMUL_W4A8_DOTS_XPULPV2_H
#define EDGEC_MATMUL_W4A8_DOTS_XPULPV2_H

#include "edgec_unpack.h"
#include "edgec_xpulpv2.h"

#define EDGEC_ACC_ROW 16u /* sums from row to row, where there are two rows */

/* What dot products of one group read. */
typedef struct {
    const int8_t *x;     /* the first row's inputs */
    const uint32_t *pad; /* [rows], a block each of the last inputs, where they fill none; or NULL */
    uint32_t k;          /* bytes from row to row of x */
    uint32_t blocks;     /* of x; at least 1 */
    uint32_t step;       /* bytes from channel to channel of the weights */
    int32_t init[2];     /* [rows], where sums begin */
    int32_t *acc;        /* for a loop's own use */
} edgec_dots;

#if defined(EDGEC_XPULPV2)

_Static_assert(offsetof(edgec_dots, pad) == 4 && offsetof(edgec_dots, k) == 8 &&
                   offsetof(edgec_dots, blocks) == 12 && offsetof(edgec_dots, step) == 16 &&
                   offsetof(edgec_dots, init) == 20 && offsetof(edgec_dots, acc) == 28,
               "as the loops below read them");

/* Set by hand: what belongs together is on a line. */
/* clang-format off */
#define SUM(i)        [a##i] "=&r"(a##i)
#define SUMS_1        SUM(0)
#define SUMS_2        SUMS_1, SUM(1)
#define SUMS_4        SUMS_2, SUM(2), SUM(3)
#define SUMS_8        SUMS_4, SUM(4), SUM(5), SUM(6), SUM(7)
#define SUMS_16       SUMS_8, SUM(8), SUM(9), SUM(10), SUM(11), SUM(12), SUM(13), SUM(14), SUM(15)
#define SET(i)        "mv %[a" #i "], %[x0]\n\t"
#define SET_2(i)      "mv %[a" #i "], %[x1]\n\t"
#define PUT(i)        "sw %[a" #i "], 4 * " #i "(%[acc])\n\t"
#define PUT_2(i, at)  "sw %[a" #i "], 64 + 4 * " #at "(%[acc])\n\t"
#define PUT_X(i)      "sw %[a" #i "], 4 * " #i "(%[x])\n\t"
#define PUT_X2(i, at) "sw %[a" #i "], 64 + 4 * " #at "(%[x])\n\t"
#define ALL_4(f)      f(0) f(1) f(2) f(3)
#define ALL_8(f)      ALL_4(f) f(4) f(5) f(6) f(7)
#define T(t)          [t] "=&r"(t)

/* What is loaded before the loop: for one row (k then holds the padded block's address) or for two; for strips of
 * 2^log2 channels, back = 4 - (channels - 1) * step. */
#define ONE_ROW  "lw %[x0], 20(%[d])\n\tlw %[k], 4(%[d])\n\t"
#define TWO_ROWS "lw %[x0], 20(%[d])\n\tlw %[x1], 24(%[d])\n\tlw %[k], 8(%[d])\n\t"
#define BACK(log2)                            \
    "lw %[step], 16(%[d])\n\t"                \
    "slli %[back], %[step], " log2 "\n\t"     \
    "sub %[back], %[step], %[back]\n\t"       \
    "addi %[back], %[back], 4\n\t"
#define WALK T(step), T(back)

/* Once more for the padded block, if there is one: of one row; of two rows, `bytes` each. x is behind the first one's
 * then, where nothing else ends. */
#define ONCE                                              \
    "beqz %[k], 2f\n\t"                                   \
    "mv %[x], %[k]\n\tli %[k], 0\n\tli %[wa], 1\n\t"      \
    "j 1b\n2:\n\t"
#define TWICE(bytes)                                      \
    "lw %[wa], 4(%[d])\n\tbeqz %[wa], 2f\n\t"             \
    "addi %[x0], %[wa], " bytes "\n\t"                    \
    "beq %[x], %[x0], 2f\n\t"                             \
    "mv %[x], %[wa]\n\tli %[wa], 1\n\t"                   \
    "li %[k], " bytes "\n\t"                              \
    "j 1b\n2:\n\t"

#define DOTS(set, instructions, body, again, put, acc, ...)                       \
    __asm__ volatile("lw %[x], 0(%[d])\n\tlw %[wa], 12(%[d])\n\t" set "1:\n\t"    \
                     EDGEC_HWLOOP("0", "%[wa]", instructions, body) again put     \
                     : [w] "+r"(w), T(x), T(k), T(x0), T(wa), __VA_ARGS__         \
                     : [d] "r"(d) acc                                             \
                     : "memory")
#define ACC , [acc] "r"(acc)

/* A word of weights: of another channel than the strip's last one, of that, of a strip of one. */
#define NEXT(word)        EDGEC_P_LW_R(word, "%[step]", "%[w]")
#define LAST(word)        EDGEC_P_LW_R(word, "%[back]", "%[w]")
#define ONLY(word)        EDGEC_P_LW(word, "4", "%[w]")
/* A word of x: of the first row, of the second one at the same place. */
#define X(word)           EDGEC_P_LW("%[" #word "]", "4", "%[x]")
#define X2(word)          EDGEC_P_LW_RR("%[" #word "]", "%[k]", "%[x]")
#define DOT(acc, word, x) EDGEC_PV_SDOTUSP_B("%[a" #acc "]", word, "%[" #x "]")
#define WA                "%[wa]"
#define WB                "%[wb]"

/* 4 bits: a channel's word meets 8 inputs of one row or of two. load: of the next channel's word. */
#define LOW(word)           EDGEC_PV_AND_SCI_B("%[low]", word, "15")
#define HIGH(word)          EDGEC_PV_SRL_SCI_B(word, word, "4")
#define W4(acc, word, load)                   \
    LOW(word) load DOT(acc, "%[low]", x0)     \
    HIGH(word) DOT(acc, word, x1)
#define W4_2(acc, acc2, word, load)                                  \
    LOW(word) load DOT(acc, "%[low]", x0) DOT(acc2, "%[low]", x2)    \
    HIGH(word) DOT(acc, word, x1) DOT(acc2, word, x3)

/* acc [rows][channels] = d->init [rows] + the sums over d's blocks of 8 weights from w on, the first channel's. Rows
 * of acc are EDGEC_ACC_ROW apart. rows x channels: 1x8, 1x4, 1x1, 2x4, 2x1. */
EDGEC_INLINE void edgec_dots_w4(uint32_t rows, uint32_t channels, const uint8_t *w, edgec_dots *d, int32_t *acc) {
    uint32_t a0, a1, a2, a3, a4, a5, a6, a7, x, k, step, back, x0, wa, x1, wb, low, x2, x3;
    if (rows == 1u && channels == 8u) {
        DOTS(ONE_ROW BACK("3") ALL_8(SET), "42",
             NEXT(WA) X(x0) X(x1)
             W4(0, WA, NEXT(WB)) W4(1, WB, NEXT(WA)) W4(2, WA, NEXT(WB)) W4(3, WB, NEXT(WA))
             W4(4, WA, NEXT(WB)) W4(5, WB, NEXT(WA)) W4(6, WA, LAST(WB)) W4(7, WB, ""),
             ONCE, ALL_8(PUT), ACC, SUMS_8, WALK, T(x1), T(low), T(wb));
    } else if (rows == 1u && channels == 4u) {
        DOTS(ONE_ROW BACK("2") ALL_4(SET), "22",
             NEXT(WA) X(x0) X(x1)
             W4(0, WA, NEXT(WB)) W4(1, WB, NEXT(WA)) W4(2, WA, LAST(WB)) W4(3, WB, ""),
             ONCE, ALL_4(PUT), ACC, SUMS_4, WALK, T(x1), T(low), T(wb));
    } else if (rows == 1u) {
        DOTS(ONE_ROW SET(0), "7", ONLY(WA) X(x0) X(x1) W4(0, WA, ""),
             ONCE, PUT(0), ACC, SUMS_1, T(x1), T(low));
    } else if (channels == 4u) {
        DOTS(TWO_ROWS BACK("2") ALL_4(SET) SET_2(4) SET_2(5) SET_2(6) SET_2(7), "32",
             NEXT(WA) X2(x2) X(x0) X2(x3) X(x1)
             W4_2(0, 4, WA, NEXT(WB)) W4_2(1, 5, WB, NEXT(WA)) W4_2(2, 6, WA, LAST(WB)) W4_2(3, 7, WB, ""),
             TWICE("8"), ALL_4(PUT) PUT_2(4, 0) PUT_2(5, 1) PUT_2(6, 2) PUT_2(7, 3), ACC,
             SUMS_8, WALK, T(x1), T(x2), T(x3), T(low), T(wb));
    } else {
        DOTS(TWO_ROWS SET(0) SET_2(1), "11", ONLY(WA) X2(x2) X(x0) X2(x3) X(x1) W4_2(0, 1, WA, ""),
             TWICE("8"), PUT(0) PUT_2(1, 0), ACC, SUMS_2, T(x1), T(x2), T(x3), T(low));
    }
}

/* 8 bits: a channel's word meets 4 inputs. */
#define W8(acc, word, load)         load DOT(acc, word, x0)
#define W8_2(acc, acc2, word, load) load DOT(acc, word, x0) DOT(acc2, word, x1)

/* The same over d's blocks of 4 weights of 8 bits. rows x channels: 1x8, 1x4, 1x1, 2x8, 2x4, 2x1. */
EDGEC_INLINE void edgec_dots_w8(uint32_t rows, uint32_t channels, const uint8_t *w, edgec_dots *d, int32_t *acc) {
    uint32_t a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15;
    uint32_t x, k, step, back, x0, wa, x1, wb;
    if (rows == 1u && channels == 8u) {
        DOTS(ONE_ROW BACK("3") ALL_8(SET), "17",
             NEXT(WA) X(x0)
             W8(0, WA, NEXT(WB)) W8(1, WB, NEXT(WA)) W8(2, WA, NEXT(WB)) W8(3, WB, NEXT(WA))
             W8(4, WA, NEXT(WB)) W8(5, WB, NEXT(WA)) W8(6, WA, LAST(WB)) W8(7, WB, ""),
             ONCE, ALL_8(PUT), ACC, SUMS_8, WALK, T(wb));
    } else if (rows == 1u && channels == 4u) {
        DOTS(ONE_ROW BACK("2") ALL_4(SET), "9",
             NEXT(WA) X(x0) W8(0, WA, NEXT(WB)) W8(1, WB, NEXT(WA)) W8(2, WA, LAST(WB)) W8(3, WB, ""),
             ONCE, ALL_4(PUT), ACC, SUMS_4, WALK, T(wb));
    } else if (rows == 1u) {
        DOTS(ONE_ROW SET(0), "3", ONLY(WA) X(x0) W8(0, WA, ""), ONCE, PUT(0), ACC, SUMS_1);
    } else if (channels == 8u) { /* no register is left for acc before the end */
        d->acc = acc;
        DOTS(TWO_ROWS BACK("3") ALL_8(SET)
             SET_2(8) SET_2(9) SET_2(10) SET_2(11) SET_2(12) SET_2(13) SET_2(14) SET_2(15), "26",
             NEXT(WA) X2(x1) X(x0)
             W8_2(0, 8, WA, NEXT(WB)) W8_2(1, 9, WB, NEXT(WA)) W8_2(2, 10, WA, NEXT(WB)) W8_2(3, 11, WB, NEXT(WA))
             W8_2(4, 12, WA, NEXT(WB)) W8_2(5, 13, WB, NEXT(WA)) W8_2(6, 14, WA, LAST(WB)) W8_2(7, 15, WB, ""),
             TWICE("4") "lw %[x], 28(%[d])\n\t",
             ALL_8(PUT_X) PUT_X2(8, 0) PUT_X2(9, 1) PUT_X2(10, 2) PUT_X2(11, 3)
             PUT_X2(12, 4) PUT_X2(13, 5) PUT_X2(14, 6) PUT_X2(15, 7), , SUMS_16, WALK, T(x1), T(wb));
    } else if (channels == 4u) {
        DOTS(TWO_ROWS BACK("2") ALL_4(SET) SET_2(4) SET_2(5) SET_2(6) SET_2(7), "14",
             NEXT(WA) X2(x1) X(x0)
             W8_2(0, 4, WA, NEXT(WB)) W8_2(1, 5, WB, NEXT(WA)) W8_2(2, 6, WA, LAST(WB)) W8_2(3, 7, WB, ""),
             TWICE("4"), ALL_4(PUT) PUT_2(4, 0) PUT_2(5, 1) PUT_2(6, 2) PUT_2(7, 3), ACC,
             SUMS_8, WALK, T(x1), T(wb));
    } else {
        DOTS(TWO_ROWS SET(0) SET_2(1), "5", ONLY(WA) X2(x1) X(x0) W8_2(0, 1, WA, ""),
             TWICE("4"), PUT(0) PUT_2(1, 0), ACC, SUMS_2, T(x1));
    }
}
/* clang-format on */

#undef SUM
#undef SUMS_1
#undef SUMS_2
#undef SUMS_4
#undef SUMS_8
#undef SUMS_16
#undef SET
#undef SET_2
#undef PUT
#undef PUT_2
#undef PUT_X
#undef PUT_X2
#undef ACC
#undef ONCE
#undef TWICE
#undef ALL_4
#undef ALL_8
#undef T
#undef BACK
#undef ONE_ROW
#undef TWO_ROWS
#undef WALK
#undef DOTS
#undef NEXT
#undef LAST
#undef ONLY
#undef X
#undef X2
#undef DOT
#undef WA
#undef WB
#undef LOW
#undef HIGH
#undef W4
#undef W4_2
#undef W8
#undef W8_2

#else /* what the loops above do, for hosts */

EDGEC_INLINE void edgec_dots_any(uint32_t bits, uint32_t rows, uint32_t channels, const uint8_t *w,
                                 const edgec_dots *d, int32_t *acc) {
    const uint32_t block = 32u / bits;
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < channels; c++) {
            uint32_t sum = (uint32_t)d->init[r]; /* modulo 2^32, as on the way to a sum that fits */
            for (uint32_t i = 0; i < (d->blocks + (d->pad ? 1u : 0u)) * block; i++) {
                const int8_t *x = i < d->blocks * block ? d->x + r * d->k + i
                                                        : (const int8_t *)d->pad + r * block + i % block;
                sum += (uint32_t)(edgec_weight(bits, w + c * d->step + i / block * 4u, i % block) * *x);
            }
            acc[r * EDGEC_ACC_ROW + c] = (int32_t)sum;
        }
    }
}

#define edgec_dots_w4(...) edgec_dots_any(4, __VA_ARGS__)
#define edgec_dots_w8(...) edgec_dots_any(8, __VA_ARGS__)

#endif
#endif
