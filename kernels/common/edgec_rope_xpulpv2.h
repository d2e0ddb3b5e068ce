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

#endif
