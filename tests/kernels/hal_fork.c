/* The HAL that kernels which fork by themselves need on the host: cores one after the other, the first one first in every
 * other fork, else last. A team is of one. */
#include "edgec_fork.h"

extern uint32_t edgec_test_cores;
uint32_t edgec_test_cores = 1;

void hal_fork(hal_kernel kernel, const void *args) {
    static uint32_t forks;
    const uint32_t descending = forks++ % 2u;
    for (uint32_t i = 0; i < edgec_test_cores; i++) {
        kernel(args, descending ? edgec_test_cores - 1u - i : i, edgec_test_cores);
    }
}

void hal_fork_team(hal_kernel kernel, const void *args) {
    kernel(args, 0, 1);
}

void hal_barrier(void) {
}
