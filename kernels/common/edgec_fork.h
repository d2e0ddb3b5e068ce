/* What a directed kernel needs of the HAL: the fork of its cores' part. As in hal.h. */
#ifndef EDGEC_FORK_H
#define EDGEC_FORK_H

#include <stdint.h>

typedef void (*hal_kernel)(const void *args, uint32_t core, uint32_t n_cores);
void hal_fork(hal_kernel kernel, const void *args);

#endif
