/* HyperBus: RAM and flash off the chip, which only the uDMA reaches, and it only from L2.
 *
 * Included by hal.c. The plan's L3 is the RAM: address CHIP_L3 + n stands for its byte n. The uDMA takes transfers
 * in order and holds CHIP_HYPER_QUEUE of them. It writes L2 in words of 32 bits, and the bus moves 16: what is not
 * made of them passes through a buffer, from which core 0 copies byte by byte. Rows of a table and the last bytes
 * of a transfer are like that.
 *
 * Somebody must fill the RAM with l3.bin. With EDGEC_L3_FROM_FLASH, hal_init does: it copies the image from the
 * flash, where it begins at byte EDGEC_L3_FLASH_OFFSET, a multiple of 1024. Without, a debugger has.
 */
#ifndef EDGEC_SIRACUSA_HYPERBUS_H
#define EDGEC_SIRACUSA_HYPERBUS_H

#include "chip.h"
#include "hal.h"

#ifndef EDGEC_L3_FLASH_OFFSET
#define EDGEC_L3_FLASH_OFFSET 0u
#endif

enum { HYPER_RAM, HYPER_FLASH };

extern const uint8_t l3_start[], l3_image_end[], l3_end[]; /* of the plan's L3 (link.ld) */

static uint32_t hyper_buffer[256]; /* 1 KiB: a page of the bus, which a read of flash must not cross */

/* Waits until all transfers have ended. */
static inline void hyper_wait(void) {
    while (REGISTER(CHIP_HYPER + CHIP_HYPER_STATUS) != 0) {
    }
    __asm__ volatile("" ::: "memory"); /* the compiler has not seen them write */
}

/* Starts a transfer of whole words of L2 from or to an even address of the device, once the queue has room. */
static void hyper_start(uint32_t direction, uint32_t near, uint32_t far, uint32_t bytes) {
    while (REGISTER(CHIP_HYPER + CHIP_HYPER_STATUS) >> 1 >= CHIP_HYPER_QUEUE) {
    }
    __asm__ volatile("" ::: "memory"); /* nor that they read */
    REGISTER(CHIP_HYPER + CHIP_HYPER_COMMAND) =
        direction == CHIP_HYPER_READ ? CHIP_HYPER_GET : CHIP_HYPER_PUT;
    REGISTER(CHIP_HYPER + CHIP_HYPER_ADDRESS) = far;
    REGISTER(CHIP_HYPER + direction) = near;
    REGISTER(CHIP_HYPER + direction + 4) = bytes;
    REGISTER(CHIP_HYPER + direction + 8) = CHIP_HYPER_START;
}

/* Copies any bytes through the buffer and waits for them. A write keeps the neighbours in its first and last word,
 * which it reads after all writes that were started before: the queue keeps their order. */
static void hyper_copy_parts(uint8_t *near, uint32_t far, uint32_t bytes, int into_l2) {
    const uint32_t buffer = (uint32_t)hyper_buffer;
    while (bytes > 0) {
        const uint32_t before = far & 3u, room = sizeof hyper_buffer - before;
        const uint32_t part = bytes < room ? bytes : room;
        const uint32_t words = (before + part + 3u) & ~3u;
        uint8_t *const piece = (uint8_t *)hyper_buffer + before;
        hyper_start(CHIP_HYPER_READ, buffer, far - before, words);
        hyper_wait();
        if (into_l2) {
            memcpy(near, piece, part);
        } else {
            memcpy(piece, near, part);
            hyper_start(CHIP_HYPER_WRITE, buffer, far - before, words);
            hyper_wait();
        }
        near += part;
        far += part;
        bytes -= part;
    }
}

/* hal_dma_start between L2 and L3. */
static __attribute__((noinline)) void hyper_copy(uint32_t to, uint32_t from, uint32_t bytes) {
    const int into_l2 = from >= CHIP_L3;
    const uint32_t near = into_l2 ? to : from, far = (into_l2 ? from : to) - CHIP_L3;
    const uint32_t whole = (near & 3u) == 0 && (far & 1u) == 0 ? bytes & ~3u : 0;
    if (whole > 0) {
        hyper_start(into_l2 ? CHIP_HYPER_READ : CHIP_HYPER_WRITE, near, far, whole);
    }
    hyper_copy_parts((uint8_t *)near + whole, far + whole, bytes - whole, into_l2);
}

/* Chooses the device of the transfers that follow, while none is under way. Latencies are those that the devices
 * have after power-up (S27KS0641, S26KS512S). */
static void hyper_select(uint32_t device) {
    REGISTER(CHIP_HYPER + CHIP_HYPER_LATENCY) = device == HYPER_RAM ? 6u : 16u;
    REGISTER(CHIP_HYPER + CHIP_HYPER_TWICE) = device == HYPER_RAM;
    REGISTER(CHIP_HYPER + CHIP_HYPER_SELECT) = device;
}

/* Makes the RAM ready if the plan has something there, and fills it if that is this program's task. */
static void hyper_init(void) {
    if (l3_end - l3_start == 0) {
        return;
    }
    REGISTER(CHIP_UDMA_CLOCKS) |= CHIP_UDMA_HYPER;
    REGISTER(CHIP_HYPER + CHIP_HYPER_PAGE) = CHIP_HYPER_PAGE_1024;
#ifdef EDGEC_L3_FROM_FLASH
    const uint32_t buffer = (uint32_t)hyper_buffer;
    const uint32_t image = ((uint32_t)(l3_image_end - l3_start) + 3u) & ~3u;
    for (uint32_t done = 0; done < image; done += sizeof hyper_buffer) {
        const uint32_t left = image - done;
        const uint32_t part = left < sizeof hyper_buffer ? left : sizeof hyper_buffer;
        hyper_select(HYPER_FLASH);
        hyper_start(CHIP_HYPER_READ, buffer, EDGEC_L3_FLASH_OFFSET + done, part);
        hyper_wait();
        hyper_select(HYPER_RAM);
        hyper_start(CHIP_HYPER_WRITE, buffer, done, part);
        hyper_wait();
    }
#else
    hyper_select(HYPER_RAM);
#endif
}

#endif
