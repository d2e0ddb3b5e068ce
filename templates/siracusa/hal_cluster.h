/* What core 0 does once a layer or more, in place: forks, barriers, transfers between L1 and the chip's other memories.
 *
 * A call of a few instructions costs as much as they do, and code that runs once a layer comes from slow memory; so
 * hal.h and edgec_fork.h take these instead of functions. Everything else of the HAL is hal.c.
 */
#ifndef EDGEC_SIRACUSA_HAL_CLUSTER_H
#define EDGEC_SIRACUSA_HAL_CLUSTER_H

#include <stdint.h>

#include "chip.h"

#define HAL_IN_PLACE static inline __attribute__((always_inline))

typedef void (*hal_kernel)(const void *args, uint32_t core, uint32_t n_cores);

/* What the cores share, in L1 behind the stacks (link.ld). */
typedef struct {
    hal_kernel kernel; /* of the fork under way */
    const void *args;
    uint32_t hyper_open; /* transfers of HyperBus are under way */
    uint32_t step_began; /* the clock when the present step did */
} hal_shared;
extern volatile hal_shared hal_siracusa_state;

/* Arrives at barrier 0, sleeps until all cores have, and forgets the event. */
HAL_IN_PLACE void hal_barrier(void) {
    uint32_t events;
    /* p.elw: a load whose answer the event unit holds back */
    __asm__ volatile(".insn i 0x03, 6, %0, %1, %2"
                     : "=r"(events)
                     : "r"(CHIP_EVENTS), "i"(CHIP_BARRIER + CHIP_BARRIER_WAIT)
                     : "memory");
}

HAL_IN_PLACE void hal_fork(hal_kernel kernel, const void *args) {
    __asm__("" : "+r"(kernel)); /* one copy of its code for all cores: the cache that they share is small */
    hal_siracusa_state.kernel = kernel;
    hal_siracusa_state.args = args;
    hal_barrier();
    kernel(args, 0, EDGEC_CORES);
    hal_barrier();
}

/* The cores of a fork run at once, so they are a team. */
#define hal_fork_team hal_fork

/* Transfers belong to the one group of mchan that hal_init opens. */
HAL_IN_PLACE void hal_dma_command(uint32_t command, const void *l1, const void *other) {
    __asm__ volatile("" ::: "memory"); /* what was written so far is what is sent */
    CHIP_REGISTER(CHIP_DMA_QUEUE) = command;
    CHIP_REGISTER(CHIP_DMA_QUEUE) = (uint32_t)l1;
    CHIP_REGISTER(CHIP_DMA_QUEUE) = (uint32_t)other;
}

HAL_IN_PLACE void hal_dma_into(void *l1, const void *other, uint32_t bytes) {
    hal_dma_command(bytes | CHIP_DMA_INCREMENT | CHIP_DMA_INTO_L1, l1, other);
}

HAL_IN_PLACE void hal_dma_out_of(const void *l1, void *other, uint32_t bytes) {
    hal_dma_command(bytes | CHIP_DMA_INCREMENT, l1, other);
}

HAL_IN_PLACE void hal_dma_end(void) {
    while (CHIP_REGISTER(CHIP_DMA_STATUS) << 16) { /* the upper half says which groups are open */
    }
    __asm__ volatile("" ::: "memory"); /* the compiler has not seen the transfers write */
}

#endif
