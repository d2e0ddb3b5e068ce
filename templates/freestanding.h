/* What a compiler calls by itself, for machines without a C library: memcpy, memmove, memset, memcmp.
 *
 * Included once, by the HAL: so that its transfers are copied in place.
 */
#ifndef EDGEC_FREESTANDING_H
#define EDGEC_FREESTANDING_H

#include "hal.h"

#ifdef __clang__ /* the loops below must not be compiled into calls of the functions that they define */
#define PLAIN_LOOPS __attribute__((no_builtin))
#else
#define PLAIN_LOOPS __attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif

/* uint32_t access to memory of any type is what these functions are for */
typedef uint32_t __attribute__((may_alias)) word;

PLAIN_LOOPS void *memcpy(void *restrict dst, const void *restrict src, size_t bytes) {
    uint8_t *d = dst;
    const uint8_t *s = src;
    if ((((uintptr_t)d ^ (uintptr_t)s) & 3u) ==
        0) { /* words, eight at a time: loads before stores hide latency */
        for (; bytes > 0 && ((uintptr_t)d & 3u) != 0; bytes--) {
            *d++ = *s++;
        }
        word *dw = (word *)(void *)d;
        const word *sw = (const word *)(const void *)s;
        for (; bytes >= 32; bytes -= 32, dw += 8, sw += 8) {
            const word a0 = sw[0], a1 = sw[1], a2 = sw[2], a3 = sw[3];
            const word a4 = sw[4], a5 = sw[5], a6 = sw[6], a7 = sw[7];
            dw[0] = a0, dw[1] = a1, dw[2] = a2, dw[3] = a3;
            dw[4] = a4, dw[5] = a5, dw[6] = a6, dw[7] = a7;
        }
        for (; bytes >= 4; bytes -= 4) {
            *dw++ = *sw++;
        }
        d = (uint8_t *)dw;
        s = (const uint8_t *)sw;
    }
    for (; bytes > 0; bytes--) {
        *d++ = *s++;
    }
    return dst;
}

PLAIN_LOOPS void *memmove(void *dst, const void *src, size_t bytes) {
    uint8_t *d = dst;
    const uint8_t *s = src;
    if ((uintptr_t)d - (uintptr_t)s >= bytes) {
        return memcpy(dst, src, bytes); /* ascending order never overwrites bytes still to be read */
    }
    while (bytes-- > 0) {
        d[bytes] = s[bytes];
    }
    return dst;
}

PLAIN_LOOPS void *memset(void *dst, int value, size_t bytes) {
    uint8_t *d = dst;
    for (; bytes > 0 && ((uintptr_t)d & 3u) != 0; bytes--) {
        *d++ = (uint8_t)value;
    }
    word *dw = (word *)(void *)d;
    const word pattern = (uint8_t)value * 0x01010101u;
    for (; bytes >= 16; bytes -= 16, dw += 4) {
        dw[0] = pattern, dw[1] = pattern, dw[2] = pattern, dw[3] = pattern;
    }
    for (d = (uint8_t *)dw; bytes > 0; bytes--) {
        *d++ = (uint8_t)value;
    }
    return dst;
}

PLAIN_LOOPS int memcmp(const void *a, const void *b, size_t bytes) {
    const uint8_t *x = a, *y = b;
    for (size_t i = 0; i < bytes; i++) {
        if (x[i] != y[i]) {
            return x[i] < y[i] ? -1 : 1;
        }
    }
    return 0;
}

#endif
