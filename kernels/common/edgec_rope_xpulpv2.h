/* Rotation of pairs of elements as rope.h has it, for cores with XpulpV2. */
#ifndef EDGEC_ROPE_XPULPV2_H
#define EDGEC_ROPE_XPULPV2_H

#include "edgec_rows_xpulpv2.h"

/* Element i and its partner in `count` heads of a row, at least one. x, y: at element i of the first head; half_bytes: from an element
 * to its partner; head_bytes: from head to head. */
EDGEC_INLINE void edgec_rotate(const float *x, float *y, uint32_t count, uint32_t half_bytes,
                               uint32_t head_bytes, float c, float s) {
#if defined(EDGEC_PULP_FLOAT)
    uint32_t low, high, t, u;
    const uint32_t back = head_bytes - half_bytes;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[count]", "10",
            EDGEC_P_LW_R("%[low]", "%[half]", "%[x]")
            EDGEC_P_LW_R("%[high]", "%[back]", "%[x]")
            "fmul.s %[t], %[low], %[s]\n\t"
            "fmul.s %[low], %[low], %[c]\n\t"
            "fmul.s %[u], %[high], %[s]\n\t"
            "fmul.s %[high], %[high], %[c]\n\t"
            "fsub.s %[low], %[low], %[u]\n\t"
            EDGEC_P_SW_R("%[low]", "%[half]", "%[y]")
            "fadd.s %[high], %[high], %[t]\n\t"
            EDGEC_P_SW_R("%[high]", "%[back]", "%[y]"))
        : [x] "+r"(x), [y] "+r"(y), [low] "=&r"(low), [high] "=&r"(high), [t] "=&r"(t), [u] "=&r"(u)
        : [count] "r"(count), [half] "r"(half_bytes), [back] "r"(back), [c] "r"(c), [s] "r"(s)
        : "memory");
    /* clang-format on */
#else
    const uint32_t half = half_bytes / 4u, d = head_bytes / 4u;
    for (; count > 0; count--) {
        const float low = x[0];
        const float high = x[half];
        y[0] = low * c - high * s;
        y[half] = high * c + low * s;
        x += d;
        y += d;
    }
#endif
}

/* One head x [2 * half] to y, which may be x. table: [half] cosines, and as many sines behind, in units of `unit`. */
EDGEC_INLINE void edgec_rotate_head(const float *x, float *y, const int16_t *table, uint32_t half,
                                    float unit) {
#if defined(EDGEC_PULP_FLOAT)
    const float *x_high = x + half;
    float *y_high = y + half;
    const int16_t *sines = table + half;
    uint32_t low, high, c, s, t;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[half]", "16",
            EDGEC_P_LH("%[c]", "2", "%[table]")
            EDGEC_P_LH("%[s]", "2", "%[sines]")
            "fcvt.s.w %[c], %[c]\n\t"
            EDGEC_P_LW("%[low]", "4", "%[x]")
            "fcvt.s.w %[s], %[s]\n\t"
            EDGEC_P_LW("%[high]", "4", "%[x_high]")
            "fmul.s %[c], %[c], %[unit]\n\t"
            "fmul.s %[s], %[s], %[unit]\n\t"
            "fmul.s %[t], %[high], %[c]\n\t"
            "fmul.s %[c], %[low], %[c]\n\t"
            "fmul.s %[low], %[low], %[s]\n\t"
            "fmul.s %[s], %[high], %[s]\n\t"
            "fadd.s %[t], %[t], %[low]\n\t"
            EDGEC_P_SW("%[t]", "4", "%[y_high]")
            "fsub.s %[c], %[c], %[s]\n\t"
            EDGEC_P_SW("%[c]", "4", "%[y]"))
        : [x] "+r"(x), [y] "+r"(y), [table] "+r"(table), [x_high] "+r"(x_high), [y_high] "+r"(y_high),
          [sines] "+r"(sines), [low] "=&r"(low), [high] "=&r"(high), [c] "=&r"(c), [s] "=&r"(s), [t] "=&r"(t)
        : [half] "r"(half), [unit] "r"(unit)
        : "memory");
    /* clang-format on */
#else
    for (uint32_t i = 0; i < half; i++) {
        edgec_rotate(x + i, y + i, 1, 4u * half, 8u * half, (float)table[i] * unit,
                     (float)table[half + i] * unit);
    }
#endif
}

#endif
