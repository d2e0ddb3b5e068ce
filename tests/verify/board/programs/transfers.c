/* DMA in both directions, one- and two-dimensional; waits by status and by event. Exit code: the first that failed. */
#include "board.h"

#define BYTES 4096

L1 uint8_t near[BYTES];
TILE uint8_t tile[BYTES];
MRAM const uint8_t weights[BYTES] = {1, 2, 3, [4095] = 99};
static uint8_t other[BYTES];

static void fill(uint8_t *data, uint32_t seed) {
    for (uint32_t i = 0; i < BYTES; i++) {
        data[i] = (uint8_t)((i * 2654435761u + seed) >> 13);
    }
}

static int differs(const uint8_t *a, const uint8_t *b, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes; i++) {
        if (a[i] != b[i]) {
            return 1;
        }
    }
    return 0;
}

static void two_d(uint32_t command, void *inner, void *outer, uint32_t line, uint32_t stride) {
    dma(command | TWO_D | INCREMENT, inner, outer);
    REGISTER(DMA) = line;
    REGISTER(DMA) = stride;
}

void core_main(uint32_t core) {
    (void)core;
    fill(other, 1);
    fill(near, 2);
    dma_wait(dma(1000 | INCREMENT | INTO_L1, near + 3, other + 5));
    if (differs(near + 3, other + 5, 1000)) {
        leave(1);
    }
    fill(near, 3);
    dma_wait(dma(BYTES | INCREMENT, near, tile));
    if (differs(near, tile, BYTES)) {
        leave(2);
    }
    dma_wait(dma(BYTES | INCREMENT | INTO_L1, near, (void *)(uintptr_t)weights));
    if (differs(near, weights, BYTES)) {
        leave(3);
    }

    /* 5 lines of 100 bytes, 300 bytes apart outside */
    two_d(500 | INTO_L1, near, other, 100, 300);
    dma_wait(0);
    for (uint32_t i = 0; i < 5; i++) {
        if (differs(near + 100 * i, other + 300 * i, 100)) {
            leave(4);
        }
    }
    fill(near, 4);
    fill(tile, 5);
    two_d(500, near, tile, 100, 300);
    dma_wait(0);
    for (uint32_t i = 0; i < 5; i++) {
        if (differs(near + 100 * i, tile + 300 * i, 100)) {
            leave(5);
        }
    }
    fill(other, 5);
    if (differs(tile + 100, other + 100, 200) || differs(tile + 1300, other + 1300, 100)) {
        leave(6);
    }

    /* two transfers of one id, their end by event; a second id stays busy meanwhile or not */
    listen(1u << 8);
    const uint32_t id = dma(64 | INCREMENT | INTO_L1 | EVENT, near, other);
    REGISTER(DMA) = 64 | INCREMENT | INTO_L1 | EVENT;
    REGISTER(DMA) = (uint32_t)(uintptr_t)near + 64;
    REGISTER(DMA) = (uint32_t)(uintptr_t)other + 128;
    wait(EVENTS + 0x3C);
    if (REGISTER(DMA + 4) != 1u << (16 + id) || differs(near, other, 64) ||
        differs(near + 64, other + 128, 64)) {
        leave(7);
    }
    REGISTER(DMA + 4) = 1u << id;
    if (REGISTER(DMA + 4) != 0) {
        leave(8);
    }
    leave(0);
}
