/* What a directed kernel needs of the HAL: the fork of its cores' part, or of a team that waits for itself. As in hal.h. */
#ifndef EDGEC_FORK_H
#define EDGEC_FORK_H

#include <stdint.h>

#if defined(EDGEC_CORES) /* a chip's own program has them in place */
#include "hal_cluster.h"
#endif

typedef void (*hal_kernel)(const void *args, uint32_t core, uint32_t n_cores);
void hal_fork(hal_kernel kernel, const void *args);
void hal_fork_team(hal_kernel kernel, const void *args);
void hal_barrier(void);

#endif
