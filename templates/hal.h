/* The hardware abstraction layer: all that generated code and kernels need from a chip.
 *
 * hal_host.c, hal_rv32.c and the HAL of each target implement it. The model needs cores, DMA and the clock;
 * the byte streams, hal_print and hal_exit serve the main programs only.
 */
#ifndef EDGEC_HAL_H
#define EDGEC_HAL_H

#include <stddef.h>
#include <stdint.h>

#if __STDC_HOSTED__
#include <string.h>
#else /* a freestanding compiler brings no string.h, yet calls these four by itself: the bare HALs define    \
         them */
void *memcpy(void *restrict dst, const void *restrict src, size_t bytes);
void *memmove(void *dst, const void *src, size_t bytes);
void *memset(void *dst, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);
#endif

/* Once, first thing in main. */
void hal_init(void);

#if defined(EDGEC_CORES) /* a chip's own program has some of it in place */
#include "hal_cluster.h"
#endif

/* ---- Cores ---- */

/* A kernel as the HAL sees it: computes the share of core `core` of `n_cores`. */
typedef void (*hal_kernel)(const void *args, uint32_t core, uint32_t n_cores);

/* Runs kernel(args, core, n_cores) on every core and returns when all have returned. The cores' shares are
 * independent: they run in any order, one after the other or at once. Not from inside a fork. */
void hal_fork(hal_kernel kernel, const void *args);

/* HAL_KERNEL(edgec_add) at file scope, once for each kernel that the file forks, defines the trampoline that
 * turns `const void *` back into `const edgec_add_args *`; calling edgec_add through a hal_kernel would be
 * undefined. HAL_FORK(edgec_add, &args) then forks it, and does not compile if the argument struct is another
 * kernel's. On a chip, whose calling convention knows one kind of pointer, there is none: it would be fetched. */
#if defined(EDGEC_CORES)
#define HAL_KERNEL(kernel)
#define HAL_FORK(kernel, args)                                                                               \
    hal_fork((hal_kernel)(void (*)(void))kernel, 1 ? (args) : (const kernel##_args *)0)
#else
#define HAL_KERNEL(kernel)                                                                                   \
    static void kernel##_on_core(const void *args, uint32_t core, uint32_t n_cores) {                        \
        kernel(args, core, n_cores);                                                                         \
    }
#define HAL_FORK(kernel, args) hal_fork(kernel##_on_core, 1 ? (args) : (const kernel##_args *)0)
#endif

/* The same with cores that may wait for each other: on all of them where they run at once, else on one alone, with n_cores
 * 1. So what is computed must not depend on how many there are. */
void hal_fork_team(hal_kernel kernel, const void *args);

/* Waits until all cores of the running team are here. In a fork that is none, a HAL that runs cores one after the other
 * cannot wait and traps instead (exit code 5) when there are several.
 */
void hal_barrier(void);

/* Puts arguments of calls near the cores, where the program is a chip's own: its link script has a place for a section `.near`. */
#if defined(EDGEC_CORES)
#define HAL_NEAR __attribute__((section(".near"), aligned(4)))
#else
#define HAL_NEAR
#endif

/* ---- DMA ---- */

/* Starts copying `bytes` bytes. Until hal_dma_wait returns, the source must not be written and the
 * destination neither read nor written; outstanding transfers complete in any order. Core 0 only, outside
 * forks or around them. */
void hal_dma_start(void *dst, const void *src, uint32_t bytes);

/* Returns when all transfers are complete. */
void hal_dma_wait(void);

/* The same where code is written for one pair of memories: the compute memory, and another one that the cores reach.
 * hal_dma_end waits for such transfers only. */
#if !defined(EDGEC_CORES)
static inline void hal_dma_into(void *l1, const void *other, uint32_t bytes) {
    hal_dma_start(l1, other, bytes);
}
static inline void hal_dma_out_of(const void *l1, void *other, uint32_t bytes) {
    hal_dma_start(other, l1, bytes);
}
static inline void hal_dma_end(void) {
    hal_dma_wait();
}
#endif

/* ---- Clock ---- */

/* A clock that never runs backwards: core cycles on a chip, nanoseconds on a host. */
uint64_t hal_cycles(void);

/* ---- Main programs ---- */

/* Reads exactly `bytes` bytes, waiting for them, or fewer at the end of the input; returns how many. */
uint32_t hal_read(void *data, uint32_t bytes);

/* Writes all bytes. They are on their way at the latest when hal_read is called next. */
void hal_write(const void *data, uint32_t bytes);

/* Prints text for a person; never into the stream of hal_write. */
void hal_print(const char *text);

/* Ends the program. Codes: 0 good, 4 a self-test failed, 5 a trap. */
_Noreturn void hal_exit(int code);

/* Reports the bytes of value `value_id` that a step has just produced (builds with EDGEC_TRACE call it). */
void hal_trace(uint32_t value_id, const void *data, uint32_t bytes);

/* The steps of a run begin: what came before is no step's (builds with EDGEC_PROFILE call it). */
void hal_steps(void);

/* A step of the plan has just ended (builds with EDGEC_PROFILE call it). HALs of chips print `#step cycles`. */
void hal_step(uint32_t step);

/* The records that verify_main.c and hal_trace send: this header, then `bytes` bytes. Little endian. */
typedef struct {
    uint32_t tag;   /* HAL_TRACE or HAL_REPLY */
    uint32_t id;    /* of a trace: the value; of a reply: the command */
    uint32_t bytes; /* of the data that follow */
} hal_record;

#define HAL_TRACE 0x43415254u /* "TRAC" */
#define HAL_REPLY 0x4c504552u /* "REPL" */

#endif
