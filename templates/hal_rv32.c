/* The HAL of a bare RV32 machine: one core, DMA by memcpy, streams through a block of device registers.
 *
 * edgec/verify/rv32.py is that device. On another machine, replace the functions under "Main programs".
 */
#include "hal.h"

#ifdef __clang__ /* the loops below must not be compiled into calls of the functions that they define */
#define PLAIN_LOOPS __attribute__((no_builtin))
#else
#define PLAIN_LOOPS __attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif

/* ---- Cores, DMA, clock ---- */

void hal_init(void) {
}

void hal_fork(hal_kernel kernel, const void *args) {
    kernel(args, 0, 1);
}

void hal_barrier(void) {
}

void hal_dma_start(void *dst, const void *src, uint32_t bytes) {
    memcpy(dst, src, bytes);
}

void hal_dma_wait(void) {
}

uint64_t hal_cycles(void) {
    uint32_t high, low, again;
    do { /* the low half may wrap between the reads */
        __asm__ volatile("csrr %0, mcycleh\n\tcsrr %1, mcycle\n\tcsrr %2, mcycleh"
                         : "=r"(high), "=r"(low), "=r"(again));
    } while (high != again);
    return (uint64_t)high << 32 | low;
}

/* ---- Main programs ---- */

struct device {
    volatile uint32_t address; /* of the bytes to transfer */
    volatile uint32_t bytes;   /* how many */
    volatile uint32_t
        read; /* reading it fills them from the input; its value is how many came, 0 if none yet */
    volatile uint32_t write; /* writing anything appends them to the output */
    volatile uint32_t print; /* writing anything shows them to a person */
    volatile uint32_t trace; /* writing a value's id reports them as that value */
    volatile uint32_t exit;  /* writing an exit code ends the program */
};
#define DEVICE ((struct device *)0x30000000u)

/* The emulator stops at this address; it goes on after the call when there is input. */
void hal_rv32_idle(void);
__attribute__((noinline)) void hal_rv32_idle(void) {
    __asm__ volatile("");
}

static void describe(const void *data, uint32_t bytes) {
    DEVICE->address = (uint32_t)(uintptr_t)data;
    DEVICE->bytes = bytes;
    __asm__ volatile("" ::: "memory"); /* the device reads and writes memory behind the compiler's back */
}

uint32_t hal_read(void *data, uint32_t bytes) {
    uint32_t done = 0;
    while (done < bytes) {
        describe((uint8_t *)data + done, bytes - done);
        const uint32_t count = DEVICE->read;
        __asm__ volatile("" ::: "memory");
        if (count == 0) {
            hal_rv32_idle();
        }
        done += count;
    }
    return done;
}

void hal_write(const void *data, uint32_t bytes) {
    describe(data, bytes);
    DEVICE->write = 1;
}

void hal_print(const char *text) {
    uint32_t bytes = 0;
    while (text[bytes] != '\0') {
        bytes++;
    }
    describe(text, bytes);
    DEVICE->print = 1;
}

_Noreturn void hal_exit(int code) {
    DEVICE->exit = (uint32_t)code;
    for (;;) {
        hal_rv32_idle();
    }
}

void hal_trace(uint32_t value_id, const void *data, uint32_t bytes) {
    describe(data, bytes);
    DEVICE->trace = value_id;
}

/* ---- What the compiler calls by itself ---- */

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
