/* The HAL of a bare RV32 machine: one core, DMA by memcpy, streams through a block of device registers.
 *
 * edgec/verify/rv32.py is that device. On another machine, replace the functions under "Main programs".
 */
#include "hal.h"

#include "freestanding.h"

/* ---- Cores, DMA, clock ---- */

void hal_init(void) {
}

void hal_fork(hal_kernel kernel, const void *args) {
    kernel(args, 0, 1);
}

void hal_fork_team(hal_kernel kernel, const void *args) {
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
