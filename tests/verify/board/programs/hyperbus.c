/* The runtime's driver of HyperBus: the image that comes from flash, copies of all alignments, a queue that is full.
 * `shadow` is what the RAM must hold. Exit code: the first that failed.
 */
#define EDGEC_L3_FROM_FLASH
#define EDGEC_L3_FLASH_OFFSET 2048u
#include "board.h"
#include "freestanding.h"
#include "hyperbus.h"

#define BYTES 8192u
#define IMAGE 3001u

static uint8_t shadow[BYTES], other[BYTES] __attribute__((aligned(4)));

static uint32_t random_word(void) {
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

static int differs(const uint8_t *a, const uint8_t *b, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes; i++) {
        if (a[i] != b[i]) {
            return 1;
        }
    }
    return 0;
}

static uint32_t ram(uint32_t at) {
    return CHIP_L3 + at;
}

static void put(uint32_t at, const uint8_t *data, uint32_t bytes) {
    hyper_copy(ram(at), (uint32_t)data, bytes);
    memcpy(shadow + at, data, bytes);
}

/* Reads bytes between two that must not change. */
static int get_differs(uint32_t at, uint32_t near, uint32_t bytes) {
    uint8_t *const data = other + 4 + near;
    memset(other, 0x5a, BYTES);
    hyper_copy((uint32_t)data, ram(at), bytes);
    hyper_wait();
    return differs(data, shadow + at, bytes) || data[-1] != 0x5a || data[bytes] != 0x5a;
}

void core_main(uint32_t core) {
    (void)core;
    hyper_init();
    for (uint32_t i = 0; i < BYTES; i++) {
        shadow[i] = (uint8_t)((i + EDGEC_L3_FLASH_OFFSET) * 2654435761u >> 13);
    }
    if (get_differs(0, 0, IMAGE)) {
        leave(1);
    }
    for (uint32_t i = IMAGE; i < BYTES; i++) { /* not of the image: the program writes it */
        other[i] = (uint8_t)random_word();
    }
    put(IMAGE, other + IMAGE, BYTES - IMAGE);
    for (uint32_t i = 0; i < 300; i++) {
        const uint32_t near = i & 3u, at = random_word() % 4000u * (i & 4u ? 1u : 2u) + (i >> 3 & 3u);
        const uint32_t longest = i % 16u == 0 ? 3000u : 40u, left = BYTES - at;
        const uint32_t bytes = 1u + random_word() % (left < longest ? left : longest);
        if (get_differs(at, near, bytes)) {
            leave(2);
        }
        for (uint32_t k = 0; k < bytes; k++) {
            other[near + k] = (uint8_t)random_word();
        }
        put(at, other + near, bytes);
        hyper_wait();
    }
    for (uint32_t i = 0; i < BYTES; i++) {
        other[i] = (uint8_t)random_word();
    }
    /* More than the queue holds. */
    for (uint32_t i = 0; i < 40; i++) {
        put(4096 + 100 * i, other + 100 * i, 100);
    }
    /* Neighbours share a word, and the first of two is still in the queue. */
    for (uint32_t i = 0; i < 40; i++) {
        put(100 + 82 * i, other + 100 * i, 40);
        put(140 + 82 * i, other + 101 * i, 42);
    }
    hyper_wait();
    if (get_differs(0, 0, BYTES - 8)) {
        leave(3);
    }
    mail(2, shadow, BYTES, 0);
    leave(0);
}
