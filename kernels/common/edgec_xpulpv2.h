/* XpulpV2, the instructions that PULP's cores (RI5CY and its kin) have on top of RV32IMC: SIMD dot products of four
 * int8 or two int16, loads that step their pointer, multiply-accumulate, minimum, maximum, hardware loops.
 *
 * Active where EDGEC_XPULPV2 is defined, which the compiler command of such a chip does. No compiler has to know the
 * instructions: the assembler's `.insn` spells them. Everywhere else the functions are plain C of the same bits, so a
 * kernel that uses them runs on a host and is tested there. Both assume a little-endian core.
 *
 * Each instruction comes twice where both are of use: as EDGEC_<NAME>(...), text for an asm block whose operands are
 * strings ("%[w]", "4"), and as a function edgec_<name>. Words hold 4 bytes, or 2 halves, the lowest element in the
 * lowest bits. Encodings: RI5CY user manual, chapters "PULP instruction set extensions" and "Hardware loops".
 */
#ifndef EDGEC_XPULPV2_H
#define EDGEC_XPULPV2_H

#include "edgec_kernel.h"

/* ---- Text for asm blocks ------------------------------------------------------------------------------------- */

#define EDGEC_INSN_R(opcode, funct3, funct7, rd, a, b)                                                       \
    ".insn r " opcode ", " funct3 ", " funct7 ", " rd ", " a ", " b "\n\t"

/* rd = *p, then p += step, a number of -2048 .. 2047. rd and p are two registers. What is loaded is not used by the
 * next instruction, or that one waits a cycle. */
#define EDGEC_P_LOAD(funct3, rd, step, p)  ".insn i 0x0b, " funct3 ", " rd ", " p ", " step "\n\t"
#define EDGEC_P_LB(rd, step, p)            EDGEC_P_LOAD("0", rd, step, p)
#define EDGEC_P_LH(rd, step, p)            EDGEC_P_LOAD("1", rd, step, p)
#define EDGEC_P_LW(rd, step, p)            EDGEC_P_LOAD("2", rd, step, p)
#define EDGEC_P_LBU(rd, step, p)           EDGEC_P_LOAD("4", rd, step, p)
#define EDGEC_P_LHU(rd, step, p)           EDGEC_P_LOAD("5", rd, step, p)
/* The same with a step in a register. */
#define EDGEC_P_LW_R(rd, step, p)          EDGEC_INSN_R("0x0b", "7", "0x10", rd, p, step)
#define EDGEC_P_LH_R(rd, step, p)          EDGEC_INSN_R("0x0b", "7", "0x08", rd, p, step)
#define EDGEC_P_LBU_R(rd, step, p)         EDGEC_INSN_R("0x0b", "7", "0x20", rd, p, step)
#define EDGEC_P_LHU_R(rd, step, p)         EDGEC_INSN_R("0x0b", "7", "0x28", rd, p, step)
#define EDGEC_P_LB_R(rd, step, p)          EDGEC_INSN_R("0x0b", "7", "0x00", rd, p, step)
/* rd = *(base + offset), both registers: no step. */
#define EDGEC_P_LW_RR(rd, offset, base)    EDGEC_INSN_R("0x03", "7", "0x10", rd, base, offset)
#define EDGEC_P_LBU_RR(rd, offset, base)   EDGEC_INSN_R("0x03", "7", "0x20", rd, base, offset)
#define EDGEC_P_LB_RR(rd, offset, base)    EDGEC_INSN_R("0x03", "7", "0x00", rd, base, offset)
/* *p = rs, then p += step. */
#define EDGEC_P_STORE(funct3, rs, step, p) ".insn s 0x2b, " funct3 ", " rs ", " step "(" p ")\n\t"
#define EDGEC_P_SB(rs, step, p)            EDGEC_P_STORE("0", rs, step, p)
#define EDGEC_P_SH(rs, step, p)            EDGEC_P_STORE("1", rs, step, p)
#define EDGEC_P_SW(rs, step, p)            EDGEC_P_STORE("2", rs, step, p)
#define EDGEC_P_SW_R(rs, step, p)          EDGEC_INSN_R("0x2b", "6", "0x00", step, p, rs)

/* rd += or -= a * b; the lower, the larger of two numbers, signed or (u) unsigned; |a|. */
#define EDGEC_P_MAC(rd, a, b)               EDGEC_INSN_R("0x33", "0", "0x21", rd, a, b)
#define EDGEC_P_MSU(rd, a, b)               EDGEC_INSN_R("0x33", "1", "0x21", rd, a, b)
#define EDGEC_P_MIN(rd, a, b)               EDGEC_INSN_R("0x33", "4", "0x02", rd, a, b)
#define EDGEC_P_MINU(rd, a, b)              EDGEC_INSN_R("0x33", "5", "0x02", rd, a, b)
#define EDGEC_P_MAX(rd, a, b)               EDGEC_INSN_R("0x33", "6", "0x02", rd, a, b)
#define EDGEC_P_MAXU(rd, a, b)              EDGEC_INSN_R("0x33", "7", "0x02", rd, a, b)
#define EDGEC_P_ABS(rd, a)                  EDGEC_INSN_R("0x33", "0", "0x02", rd, a, "x0")
/* a * b of the 16 low bits of both, unsigned; the same with half a unit added (rn), also of the 16 high bits (hh); a - b; all
 * shifted right by 0 .. 31, a number. */
#define EDGEC_P_MULUN(rd, a, b, shift)      EDGEC_INSN_R("0x5b", "0", shift, rd, a, b)
#define EDGEC_P_MULURN(rd, a, b, shift)     EDGEC_INSN_R("0x5b", "4", shift, rd, a, b)
#define EDGEC_P_MULHHURN(rd, a, b, shift)   EDGEC_INSN_R("0x5b", "4", "0x20 + " shift, rd, a, b)
#define EDGEC_P_SUBUN(rd, a, b, shift)      EDGEC_INSN_R("0x5b", "3", "0x40 + " shift, rd, a, b)
/* a between -2^(bits-1) and 2^(bits-1) - 1; bits is a number of 1 .. 31. An x<bits> names the 5 bits of a register. */
#define EDGEC_P_CLIP(rd, a, bits)           EDGEC_INSN_R("0x33", "1", "0x0a", rd, a, "x" bits)
/* Place of the lowest and of the highest set bit, 32 of zero; number of set bits. */
#define EDGEC_P_FF1(rd, a)                  EDGEC_INSN_R("0x33", "0", "0x08", rd, a, "x0")
#define EDGEC_P_FL1(rd, a)                  EDGEC_INSN_R("0x33", "1", "0x08", rd, a, "x0")
#define EDGEC_P_CNT(rd, a)                  EDGEC_INSN_R("0x33", "3", "0x08", rd, a, "x0")
/* a without the bit whose place is in b, a register. */
#define EDGEC_P_BCLR(rd, a, b)              EDGEC_INSN_R("0x33", "3", "0x40", rd, a, b)
/* `bits` bits of a from bit `low` on, signed or (u) unsigned: numbers, bits - 1 is what is encoded as `less1`. */
#define EDGEC_P_EXTRACT(rd, a, less1, low)  EDGEC_INSN_R("0x33", "0", "0x60 + " less1, rd, a, "x" low)
#define EDGEC_P_EXTRACTU(rd, a, less1, low) EDGEC_INSN_R("0x33", "1", "0x60 + " less1, rd, a, "x" low)

/* Dot products: sp of signed a and b, up of unsigned ones, usp of unsigned a and signed b; an s in front adds to rd. */
#define EDGEC_PV_DOTSP_B(rd, a, b)   EDGEC_INSN_R("0x57", "1", "0x4c", rd, a, b)
#define EDGEC_PV_DOTUP_B(rd, a, b)   EDGEC_INSN_R("0x57", "1", "0x40", rd, a, b)
#define EDGEC_PV_DOTUSP_B(rd, a, b)  EDGEC_INSN_R("0x57", "1", "0x44", rd, a, b)
#define EDGEC_PV_SDOTSP_B(rd, a, b)  EDGEC_INSN_R("0x57", "1", "0x5c", rd, a, b)
#define EDGEC_PV_SDOTUP_B(rd, a, b)  EDGEC_INSN_R("0x57", "1", "0x50", rd, a, b)
#define EDGEC_PV_SDOTUSP_B(rd, a, b) EDGEC_INSN_R("0x57", "1", "0x54", rd, a, b)
#define EDGEC_PV_DOTSP_H(rd, a, b)   EDGEC_INSN_R("0x57", "0", "0x4c", rd, a, b)
#define EDGEC_PV_SDOTSP_H(rd, a, b)  EDGEC_INSN_R("0x57", "0", "0x5c", rd, a, b)
#define EDGEC_PV_SDOTUP_H(rd, a, b)  EDGEC_INSN_R("0x57", "0", "0x50", rd, a, b)
/* Element by element, signed, wrapping. */
#define EDGEC_PV_ADD_B(rd, a, b)     EDGEC_INSN_R("0x57", "1", "0x00", rd, a, b)
#define EDGEC_PV_ADD_H(rd, a, b)     EDGEC_INSN_R("0x57", "0", "0x00", rd, a, b)
#define EDGEC_PV_SUB_B(rd, a, b)     EDGEC_INSN_R("0x57", "1", "0x04", rd, a, b)
#define EDGEC_PV_SUB_H(rd, a, b)     EDGEC_INSN_R("0x57", "0", "0x04", rd, a, b)
#define EDGEC_PV_MAX_B(rd, a, b)     EDGEC_INSN_R("0x57", "1", "0x18", rd, a, b)
#define EDGEC_PV_MAX_H(rd, a, b)     EDGEC_INSN_R("0x57", "0", "0x18", rd, a, b)
#define EDGEC_PV_MIN_B(rd, a, b)     EDGEC_INSN_R("0x57", "1", "0x10", rd, a, b)
#define EDGEC_PV_MIN_H(rd, a, b)     EDGEC_INSN_R("0x57", "0", "0x10", rd, a, b)
/* Unsigned bytes of a shifted right by the low 3 bits of the bytes of b. */
#define EDGEC_PV_SRL_B(rd, a, b)     EDGEC_INSN_R("0x57", "1", "0x20", rd, a, b)
/* All bytes of a with one number: shifts by 0 .. 7, operands of -32 .. 31. The number is cut in two by the encoding. */
#define EDGEC_PV_SCI_B(funct6, rd, a, number)                                                                \
    ".insn i 0x57, 7, " rd ", " a ", " funct6 " * 64 + ((" number ") & 1) * 32 + (((" number                 \
    ") >> 1) & 31)\n\t"
#define EDGEC_PV_SRL_SCI_B(rd, a, amount)    EDGEC_PV_SCI_B("16", rd, a, amount)
#define EDGEC_PV_SLL_SCI_B(rd, a, amount)    EDGEC_PV_SCI_B("20", rd, a, amount)
#define EDGEC_PV_AND_SCI_B(rd, a, number)    EDGEC_PV_SCI_B("26", rd, a, number)
#define EDGEC_PV_SDOTSP_SCI_B(rd, a, number) EDGEC_PV_SCI_B("-18", rd, a, number)
/* All bytes of rd = the low byte of a. */
#define EDGEC_PV_REPEAT_B(rd, a)             EDGEC_INSN_R("0x57", "5", "0x00", rd, "x0", a)
/* Elements moved. pack: halves (b low, a high). packlo and packhi: bytes (b, a) into rd's low or high half, the other
 * one stays. shuffle2: byte i of rd becomes byte s % 4 of a where s = byte i of b is 4 .. 7, of old rd where s < 4. */
#define EDGEC_PV_PACK_H(rd, a, b)            EDGEC_INSN_R("0x57", "0", "0x68", rd, a, b)
#define EDGEC_PV_PACKLO_B(rd, a, b)          EDGEC_INSN_R("0x57", "1", "0x70", rd, a, b)
#define EDGEC_PV_PACKHI_B(rd, a, b)          EDGEC_INSN_R("0x57", "1", "0x6c", rd, a, b)
#define EDGEC_PV_SHUFFLE2_B(rd, a, b)        EDGEC_INSN_R("0x57", "1", "0x64", rd, a, b)
#define EDGEC_PV_SHUFFLE2_H(rd, a, b)        EDGEC_INSN_R("0x57", "0", "0x64", rd, a, b)

/* Waits for the event unit: a load that the core sleeps in. */
#define EDGEC_P_ELW(rd, offset, base) ".insn i 0x03, 6, " rd ", " base ", " offset "\n\t"

/* Runs `body` `count` times without a branch. level: "0", or "1" around a loop of level "0". count: a register, at least
 * 1 in it. instructions: how many the body has, a number of at least 2 that the assembler checks; of an inner loop its
 * setup counts too. Instructions of the body are 4 bytes each, the last one is no branch and no inner loop's last. The
 * whole loop belongs into one asm block, as a compiler knows nothing of it. A loop within a body is a _HWLOOP_INNER,
 * which comes aligned. */
#define EDGEC_HWLOOP_INNER(level, count, instructions, body)                                                 \
    EDGEC_HWLOOP_START(level)                                                                                \
    ".insn i 0x7b, 4, x" level ", " count ", 2 * (" instructions ")\n\t" body EDGEC_HWLOOP_END(level,        \
                                                                                               instructions)
#define EDGEC_HWLOOP(level, count, instructions, body)                                                       \
    ".balign 4\n\t" EDGEC_HWLOOP_INNER(level, count, instructions, body)
/* The same with a number of 1 .. 4095 for the count, and at most 15 instructions. */
#define EDGEC_HWLOOP_I_INNER(level, count, instructions, body)                                               \
    EDGEC_HWLOOP_START(level)                                                                                \
    ".insn u 0x7b, x" level ", (" count ") * 256 + (" instructions ") * 16 + 5\n\t" body EDGEC_HWLOOP_END(   \
        level, instructions)
#define EDGEC_HWLOOP_I(level, count, instructions, body)                                                     \
    ".balign 4\n\t" EDGEC_HWLOOP_I_INNER(level, count, instructions, body)
#define EDGEC_HWLOOP_START(level) ".option push\n\t.option norvc\n\t.option norelax\n7" level ":\n\t"
#define EDGEC_HWLOOP_END(level, instructions)                                                                \
    ".if . - 7" level "b - 4 * (" instructions " + 1)\n\t.error \"not " instructions                         \
    " instructions\"\n\t.endif\n\t.option pop\n\t"

/* ---- Functions ------------------------------------------------------------------------------------------------- */

#if defined(EDGEC_XPULPV2)
#define EDGEC_PULP_3(name, text, result, type, portable)                                                     \
    EDGEC_INLINE result edgec_##name(result acc, type a, type b) {                                           \
        __asm__(text("%0", "%1", "%2") : "+r"(acc) : "r"(a), "r"(b));                                        \
        return acc;                                                                                          \
    }
#define EDGEC_PULP_2(name, text, type, portable)                                                             \
    EDGEC_INLINE type edgec_##name(type a, type b) {                                                         \
        type result;                                                                                         \
        __asm__(text("%0", "%1", "%2") : "=r"(result) : "r"(a), "r"(b));                                     \
        return result;                                                                                       \
    }
#define EDGEC_PULP_1(name, text, result, type, portable)                                                     \
    EDGEC_INLINE result edgec_##name(type a) {                                                               \
        result found;                                                                                        \
        __asm__(text("%0", "%1") : "=r"(found) : "r"(a));                                                    \
        return found;                                                                                        \
    }
#define EDGEC_PULP_LOAD(name, text, result, type)                                                            \
    EDGEC_INLINE result edgec_##name(const type **p) {                                                       \
        result value;                                                                                        \
        const type *at = *p;                                                                                 \
        __asm__ volatile(text("%0", "%c2", "%1") : "=&r"(value), "+r"(at) : "i"(sizeof(type)) : "memory");   \
        *p = at;                                                                                             \
        return value;                                                                                        \
    }
#define EDGEC_PULP_STORE(name, text, type)                                                                   \
    EDGEC_INLINE void edgec_##name(type **p, type value) {                                                   \
        type *at = *p;                                                                                       \
        __asm__ volatile(text("%1", "%c2", "%0") : "+r"(at) : "r"(value), "i"(sizeof(type)) : "memory");     \
        *p = at;                                                                                             \
    }
#else
#define EDGEC_PULP_3(name, text, result, type, portable)                                                     \
    EDGEC_INLINE result edgec_##name(result acc, type a, type b) {                                           \
        return (result)(portable);                                                                           \
    }
#define EDGEC_PULP_2(name, text, type, portable)                                                             \
    EDGEC_INLINE type edgec_##name(type a, type b) {                                                         \
        return (type)(portable);                                                                             \
    }
#define EDGEC_PULP_1(name, text, result, type, portable)                                                     \
    EDGEC_INLINE result edgec_##name(type a) {                                                               \
        return (result)(portable);                                                                           \
    }
#define EDGEC_PULP_LOAD(name, text, result, type)                                                            \
    EDGEC_INLINE result edgec_##name(const type **p) {                                                       \
        const type *at = (*p)++;                                                                             \
        return *at;                                                                                          \
    }
#define EDGEC_PULP_STORE(name, text, type)                                                                   \
    EDGEC_INLINE void edgec_##name(type **p, type value) {                                                   \
        type *at = (*p)++;                                                                                   \
        *at = value;                                                                                         \
    }
#endif

/* Element i of a word: unsigned and signed bytes, signed and unsigned halves. */
#define EDGEC_UB(word, i) ((int32_t)((word) >> 8u * (i) & 255u))
#define EDGEC_SB(word, i) ((int32_t)(int8_t)((word) >> 8u * (i)))
#define EDGEC_SH(word, i) ((int32_t)(int16_t)((word) >> 16u * (i)))
#define EDGEC_DOT_B(A, B)                                                                                    \
    ((uint32_t)(A(a, 0) * B(b, 0)) + (uint32_t)(A(a, 1) * B(b, 1)) + (uint32_t)(A(a, 2) * B(b, 2)) +         \
     (uint32_t)(A(a, 3) * B(b, 3)))
#define EDGEC_DOT_SH                                                                                         \
    ((uint32_t)(EDGEC_SH(a, 0) * EDGEC_SH(b, 0)) + (uint32_t)(EDGEC_SH(a, 1) * EDGEC_SH(b, 1)))
#define EDGEC_BYTES(f)                                                                                       \
    (((uint32_t)(f(0)) & 255u) | ((uint32_t)(f(1)) & 255u) << 8 | ((uint32_t)(f(2)) & 255u) << 16 |          \
     ((uint32_t)(f(3)) & 255u) << 24)
#define EDGEC_HALVES(f) (((uint32_t)(f(0)) & 65535u) | (uint32_t)(f(1)) << 16)

/* acc + the dot product of a and b, modulo 2^32. */
EDGEC_PULP_3(sdotsp_b, EDGEC_PV_SDOTSP_B, int32_t, uint32_t, (uint32_t)acc + EDGEC_DOT_B(EDGEC_SB, EDGEC_SB))
EDGEC_PULP_3(sdotusp_b, EDGEC_PV_SDOTUSP_B, int32_t, uint32_t,
             (uint32_t)acc + EDGEC_DOT_B(EDGEC_UB, EDGEC_SB))
EDGEC_PULP_3(sdotup_b, EDGEC_PV_SDOTUP_B, uint32_t, uint32_t, acc + EDGEC_DOT_B(EDGEC_UB, EDGEC_UB))
EDGEC_PULP_3(sdotsp_h, EDGEC_PV_SDOTSP_H, int32_t, uint32_t, (uint32_t)acc + EDGEC_DOT_SH)

/* acc + a * b and acc - a * b, modulo 2^32. */
EDGEC_PULP_3(p_mac, EDGEC_P_MAC, int32_t, int32_t, (uint32_t)acc + (uint32_t)a * (uint32_t)b)
EDGEC_PULP_3(p_msu, EDGEC_P_MSU, int32_t, int32_t, (uint32_t)acc - (uint32_t)a * (uint32_t)b)

EDGEC_PULP_2(p_min, EDGEC_P_MIN, int32_t, a < b ? a : b)
EDGEC_PULP_2(p_max, EDGEC_P_MAX, int32_t, a > b ? a : b)
EDGEC_PULP_2(p_minu, EDGEC_P_MINU, uint32_t, a < b ? a : b)
EDGEC_PULP_2(p_maxu, EDGEC_P_MAXU, uint32_t, a > b ? a : b)
EDGEC_PULP_1(p_abs, EDGEC_P_ABS, int32_t, int32_t, a < 0 ? 0u - (uint32_t)a : (uint32_t)a)

/* a between -128 and 127: the clip of `bits` 8. */
#define EDGEC_P_CLIP8(rd, a) EDGEC_P_CLIP(rd, a, "8")
EDGEC_PULP_1(p_clip8, EDGEC_P_CLIP8, int32_t, int32_t, a < -128 ? -128 : a > 127 ? 127 : a)

/* Number of set bits, place of the lowest one; 32 where there is none. */
static inline uint32_t edgec_portable_cnt(uint32_t a) {
    uint32_t count = 0;
    for (; a; a &= a - 1u) {
        count++;
    }
    return count;
}
EDGEC_PULP_1(p_cnt, EDGEC_P_CNT, uint32_t, uint32_t, edgec_portable_cnt(a))
EDGEC_PULP_1(p_ff1, EDGEC_P_FF1, uint32_t, uint32_t, a ? edgec_portable_cnt((a & (0u - a)) - 1u) : 32u)

/* a without bit b, 0 .. 31. */
EDGEC_PULP_2(p_bclr, EDGEC_P_BCLR, uint32_t, a & ~(1u << (b & 31u)))

/* `bits` bits of a from bit `low` on, one instruction where those are constants. */
EDGEC_INLINE uint32_t edgec_p_extractu(uint32_t a, uint32_t bits, uint32_t low) {
#if defined(EDGEC_XPULPV2)
    if (__builtin_constant_p(bits) && __builtin_constant_p(low)) {
        uint32_t result;
        __asm__(EDGEC_P_EXTRACTU("%0", "%1", "%2", "%3") : "=r"(result) : "r"(a), "i"(bits - 1u), "i"(low));
        return result;
    }
#endif
    return a >> low & ((1u << bits) - 1u);
}

/* Element by element, wrapping. */
#define EDGEC_ADD_SB(i) EDGEC_SB(a, i) + EDGEC_SB(b, i)
#define EDGEC_SUB_SB(i) EDGEC_SB(a, i) - EDGEC_SB(b, i)
#define EDGEC_MAX_SB(i) EDGEC_SB(a, i) > EDGEC_SB(b, i) ? EDGEC_SB(a, i) : EDGEC_SB(b, i)
#define EDGEC_ADD_SH(i) EDGEC_SH(a, i) + EDGEC_SH(b, i)
#define EDGEC_SUB_SH(i) EDGEC_SH(a, i) - EDGEC_SH(b, i)
EDGEC_PULP_2(add_b, EDGEC_PV_ADD_B, uint32_t, EDGEC_BYTES(EDGEC_ADD_SB))
EDGEC_PULP_2(sub_b, EDGEC_PV_SUB_B, uint32_t, EDGEC_BYTES(EDGEC_SUB_SB))
EDGEC_PULP_2(max_b, EDGEC_PV_MAX_B, uint32_t, EDGEC_BYTES(EDGEC_MAX_SB))
EDGEC_PULP_2(add_h, EDGEC_PV_ADD_H, uint32_t, EDGEC_HALVES(EDGEC_ADD_SH))
EDGEC_PULP_2(sub_h, EDGEC_PV_SUB_H, uint32_t, EDGEC_HALVES(EDGEC_SUB_SH))

/* Bytes shifted right by the bytes of b, 0 .. 7 each; a's low byte four times. */
#define EDGEC_SHIFTED(i) EDGEC_UB(a, i) >> (b >> 8u * (i) & 7u)
EDGEC_PULP_2(srl_b, EDGEC_PV_SRL_B, uint32_t, EDGEC_BYTES(EDGEC_SHIFTED))
EDGEC_PULP_1(repeat_b, EDGEC_PV_REPEAT_B, uint32_t, uint32_t, (a & 255u) * 0x01010101u)

/* The same of numbers, one instruction where they are constants: shifts by 0 .. 7, a mask of 0 .. 31 for all bytes. */
EDGEC_INLINE uint32_t edgec_shift_right_b(uint32_t a, uint32_t amount) {
#if defined(EDGEC_XPULPV2)
    if (__builtin_constant_p(amount)) {
        uint32_t result;
        __asm__(EDGEC_PV_SRL_SCI_B("%0", "%1", "%2") : "=r"(result) : "r"(a), "i"(amount));
        return result;
    }
#endif
    return a >> amount & (255u >> amount) * 0x01010101u;
}
EDGEC_INLINE uint32_t edgec_shift_left_b(uint32_t a, uint32_t amount) {
#if defined(EDGEC_XPULPV2)
    if (__builtin_constant_p(amount)) {
        uint32_t result;
        __asm__(EDGEC_PV_SLL_SCI_B("%0", "%1", "%2") : "=r"(result) : "r"(a), "i"(amount));
        return result;
    }
#endif
    return a << amount & (255u << amount & 255u) * 0x01010101u;
}
EDGEC_INLINE uint32_t edgec_and_b(uint32_t a, uint32_t mask) {
#if defined(EDGEC_XPULPV2)
    if (__builtin_constant_p(mask)) {
        uint32_t result;
        __asm__(EDGEC_PV_AND_SCI_B("%0", "%1", "%2") : "=r"(result) : "r"(a), "i"(mask));
        return result;
    }
#endif
    return a & mask * 0x01010101u;
}

/* acc + the four signed bytes of a. */
EDGEC_INLINE int32_t edgec_sum_b(int32_t acc, uint32_t a) {
#if defined(EDGEC_XPULPV2)
    __asm__(EDGEC_PV_SDOTSP_SCI_B("%0", "%1", "1") : "+r"(acc) : "r"(a));
    return acc;
#else
    return acc + EDGEC_SB(a, 0) + EDGEC_SB(a, 1) + EDGEC_SB(a, 2) + EDGEC_SB(a, 3);
#endif
}

/* Elements moved: see the texts. */
#define EDGEC_SHUFFLED(i) (b >> (8u * (i) + 2u) & 1u ? a : acc) >> (8u * (b >> 8u * (i) & 3u))
EDGEC_PULP_2(pack_h, EDGEC_PV_PACK_H, uint32_t, a << 16 | (b & 0xFFFFu))
EDGEC_PULP_3(packlo_b, EDGEC_PV_PACKLO_B, uint32_t, uint32_t,
             (acc & 0xFFFF0000u) | (a & 255u) << 8 | (b & 255u))
EDGEC_PULP_3(packhi_b, EDGEC_PV_PACKHI_B, uint32_t, uint32_t, (acc & 0xFFFFu) | a << 24 | (b & 255u) << 16)
EDGEC_PULP_3(shuffle2_b, EDGEC_PV_SHUFFLE2_B, uint32_t, uint32_t, EDGEC_BYTES(EDGEC_SHUFFLED))

/* *p, which then moves on by one element. */
EDGEC_PULP_LOAD(p_lw, EDGEC_P_LW, uint32_t, uint32_t)
EDGEC_PULP_LOAD(p_lb, EDGEC_P_LB, int32_t, int8_t)
EDGEC_PULP_LOAD(p_lbu, EDGEC_P_LBU, uint32_t, uint8_t)
EDGEC_PULP_LOAD(p_lh, EDGEC_P_LH, int32_t, int16_t)
EDGEC_PULP_LOAD(p_lhu, EDGEC_P_LHU, uint32_t, uint16_t)
EDGEC_PULP_STORE(p_sb, EDGEC_P_SB, int8_t)
EDGEC_PULP_STORE(p_sw, EDGEC_P_SW, uint32_t)

/* The word and the unsigned half at any address: unaligned accesses take a cycle more. */
EDGEC_INLINE uint32_t edgec_load_word(const void *p) {
    uint32_t word;
#if defined(EDGEC_XPULPV2)
    __asm__("lw %0, %1" : "=r"(word) : "m"(*(const uint8_t (*)[4])p));
#else
    memcpy(&word, p, sizeof(word));
#endif
    return word;
}
EDGEC_INLINE void edgec_store_word(void *p, uint32_t word) {
#if defined(EDGEC_XPULPV2)
    __asm__("sw %1, %0" : "=m"(*(uint8_t (*)[4])p) : "r"(word));
#else
    memcpy(p, &word, sizeof(word));
#endif
}
EDGEC_INLINE uint32_t edgec_load_half(const void *p) {
#if defined(EDGEC_XPULPV2)
    uint32_t half;
    __asm__("lhu %0, %1" : "=r"(half) : "m"(*(const uint8_t (*)[2])p));
#else
    uint16_t half;
    memcpy(&half, p, sizeof(half));
#endif
    return half;
}

/* p[i], without adding the two first. */
EDGEC_INLINE int32_t edgec_load_at(const int8_t *p, uint32_t i) {
#if defined(EDGEC_XPULPV2)
    int32_t value;
    __asm__ volatile(EDGEC_P_LB_RR("%0", "%1", "%2") : "=r"(value) : "r"(i), "r"(p) : "memory");
    return value;
#else
    return p[i];
#endif
}

#endif
