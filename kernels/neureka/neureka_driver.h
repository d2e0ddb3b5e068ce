/* The driver of N-EUREKA on Siracusa, for a core of the cluster: start jobs, sleep until they are done.
 *
 * The engine keeps two jobs: it runs one while the next one is written. edgec_neureka_start waits for a free
 * place, so a list of jobs is started one after the other and the engine never idles. One core at a time drives
 * it. The end of a job is an event of the event unit; it stays off outside of waits, for it would wake the core
 * from the barriers too.
 *
 * Memory: weights, inputs and outputs are other masters' business until a wait returns; what the cores and the
 * DMA write before edgec_neureka_start is seen by the job.
 */
#ifndef EDGEC_NEUREKA_DRIVER_H
#define EDGEC_NEUREKA_DRIVER_H

#include "neureka_registers.h"

#if defined(__riscv)

#define EDGEC_NEUREKA_BASE    0x10201000u
#define EDGEC_NEUREKA_TRIGGER 0x00u /* write 0: the job is complete, run it */
#define EDGEC_NEUREKA_ACQUIRE 0x04u /* read: the number of a job to write, or negative */
#define EDGEC_NEUREKA_STATUS  0x0Cu /* bits 0 and 8: a job in the first and second place */
#define EDGEC_NEUREKA_CLEAR   0x14u /* write 0: forget all jobs */
#define EDGEC_NEUREKA_JOB     0x20u /* the registers */

#define EDGEC_NEUREKA_EVENTS         0x10204000u /* this core's event unit */
#define EDGEC_NEUREKA_EVENT_MASK_AND 0x04u       /* write: bits to switch off */
#define EDGEC_NEUREKA_EVENT_MASK_OR  0x08u       /* write: bits to switch on */
#define EDGEC_NEUREKA_EVENT_WAIT     0x3Cu       /* p.elw: sleep until an event that is on, and clear it */
#define EDGEC_NEUREKA_EVENT          (1u << 12)  /* the end of a job */

#define EDGEC_NEUREKA_PRIORITY_REGISTER 0x10200018u
#define EDGEC_NEUREKA_PRIORITY          0x108u /* in L1 the engine first; cores wait 8 cycles at most */

#define EDGEC_NEUREKA_REGISTER(address) (*(volatile uint32_t *)(address))

/* Once, before the first job. */
static inline void edgec_neureka_open(void) {
    EDGEC_NEUREKA_REGISTER(EDGEC_NEUREKA_PRIORITY_REGISTER) |= EDGEC_NEUREKA_PRIORITY;
    EDGEC_NEUREKA_REGISTER(EDGEC_NEUREKA_BASE + EDGEC_NEUREKA_CLEAR) = 0;
}

/* Sleeps until a job has ended since the last time, or returns early; the caller looks at the state again. */
static inline void edgec_neureka_sleep(void) {
    uint32_t events;
    EDGEC_NEUREKA_REGISTER(EDGEC_NEUREKA_EVENTS + EDGEC_NEUREKA_EVENT_MASK_OR) = EDGEC_NEUREKA_EVENT;
    __asm__ volatile(".insn i 0x03, 6, %0, %1, %2" /* p.elw */
                     : "=r"(events)
                     : "r"(EDGEC_NEUREKA_EVENTS), "i"(EDGEC_NEUREKA_EVENT_WAIT)
                     : "memory");
    EDGEC_NEUREKA_REGISTER(EDGEC_NEUREKA_EVENTS + EDGEC_NEUREKA_EVENT_MASK_AND) = EDGEC_NEUREKA_EVENT;
}

/* Waits for a free place of the two and takes it. */
static inline void edgec_neureka_acquire(void) {
    __asm__ volatile("" ::: "memory"); /* the engine reads what was written so far */
    while ((int32_t)EDGEC_NEUREKA_REGISTER(EDGEC_NEUREKA_BASE + EDGEC_NEUREKA_ACQUIRE) < 0) {
        edgec_neureka_sleep();
    }
}

static inline void edgec_neureka_write(uint32_t word, uint32_t value) {
    EDGEC_NEUREKA_REGISTER(EDGEC_NEUREKA_BASE + EDGEC_NEUREKA_JOB + 4u * word) = value;
}

/* Starts the job behind those under way. */
EDGEC_INLINE void edgec_neureka_start(const edgec_neureka_job *job) {
    uint32_t words[EDGEC_NEUREKA_WORDS];
    edgec_neureka_registers(job, words);
    edgec_neureka_acquire();
#pragma GCC unroll 24
    for (uint32_t i = 0; i < EDGEC_NEUREKA_WORDS; i++) {
        edgec_neureka_write(i, words[i]);
    }
    EDGEC_NEUREKA_REGISTER(EDGEC_NEUREKA_BASE + EDGEC_NEUREKA_TRIGGER) = 0;
}

/* Starts the job of two starts ago once more with other operands in the same memories: the places take turns and
 * keep their registers. For a row of jobs of one shape, from the third one on. */
static inline void edgec_neureka_restart(const uint8_t *x, const uint8_t *w, void *y) {
    edgec_neureka_acquire();
    edgec_neureka_write(0, edgec_neureka_weights(w));
    edgec_neureka_write(1, edgec_neureka_address(x));
    edgec_neureka_write(2, edgec_neureka_address(y));
    EDGEC_NEUREKA_REGISTER(EDGEC_NEUREKA_BASE + EDGEC_NEUREKA_TRIGGER) = 0;
}

/* Jobs under way: 0 to 2. */
static inline uint32_t edgec_neureka_jobs(void) {
    const uint32_t status = EDGEC_NEUREKA_REGISTER(EDGEC_NEUREKA_BASE + EDGEC_NEUREKA_STATUS);
    return (status & 1u) + (status >> 8 & 1u);
}

/* Returns when no more than `open` jobs are under way: 0 to wait for all, 1 for the one before the last. */
static inline void edgec_neureka_wait(uint32_t open) {
    while (edgec_neureka_jobs() > open) {
        edgec_neureka_sleep();
    }
    __asm__ volatile("" ::: "memory"); /* the compiler has not seen the engine write */
}

#endif

#endif
