/* The HAL of a POSIX host: cores one after the other, DMA by memcpy, standard input and output as byte
 * streams.
 *
 * EDGEC_VERIFY makes misuse visible: accesses outside the arenas trap with one line on stderr and exit code
 * 5, and the environment variable EDGEC_CORES sets the number of cores, which run in descending order.
 * EDGEC_DMA_LATE copies as late as the contract allows, in reverse order, and spoils the destinations until
 * then.
 */
#define _DEFAULT_SOURCE

#include "hal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CANARY 0xA5 /* spoils bytes that nobody may rely on */

static uint32_t n_cores = 1;
static int forking = 0;
static int alone = 0; /* the fork is a team of one */

static _Noreturn void trap(const char *what, const char *where) {
    fprintf(stderr, "edgec: trap: %s%s\n", what, where);
    _exit(5); /* without flushing stdout: the trap may come from inside fwrite */
}

#ifdef EDGEC_VERIFY

struct arena { /* laid out by arenas.S */
    const char *name;
    uint8_t *start;
    uint64_t bytes;
    uint64_t guard_bytes; /* of the page after the end and of the one before the page of the start */
    uint64_t writable;
};
extern const struct arena edgec_arenas[];

static size_t gap(const struct arena *a) {
    return (size_t)(-a->bytes & (a->guard_bytes - 1));
}

static void on_fault(int signal_number, siginfo_t *info, void *context) {
    (void)signal_number;
    (void)context;
    const uint8_t *address = info->si_addr;
    for (const struct arena *a = edgec_arenas; a->name; a++) {
        const uint8_t *end = a->start + a->bytes;
        if (address >= end && address < end + a->guard_bytes) {
            trap("access after the end of ", a->name);
        }
        if (address < a->start && address >= a->start - gap(a) - a->guard_bytes) {
            trap("access before the start of ", a->name);
        }
        if (address >= a->start && address < end) {
            trap(a->writable ? "jump into " : "write into read-only ", a->name);
        }
    }
    char text[32];
    snprintf(text, sizeof text, "%p", info->si_addr);
    trap("access to no arena, at ", text);
}

static void protect(void) {
    static uint8_t stack[65536]; /* a stack overflow needs another stack to report it */
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    for (const struct arena *a = edgec_arenas; a->name; a++) {
        uint8_t *end = a->start + a->bytes;
        if (a->writable) {
            memset(a->start - gap(a), CANARY, gap(a));
        }
        if (mprotect(end, a->guard_bytes, PROT_NONE) != 0 ||
            mprotect(a->start - gap(a) - a->guard_bytes, a->guard_bytes, PROT_NONE) != 0) {
            trap("the guard pages cannot be protected around ", a->name);
        }
    }
}

/* The gap before an arena is no guard page: writes into it show here, at the end of each command. */
static void check_gaps(void) {
    for (const struct arena *a = edgec_arenas; a->name; a++) {
        for (const uint8_t *p = a->start - gap(a); a->writable && p < a->start; p++) {
            if (*p != CANARY) {
                trap("a write before the start of ", a->name);
            }
        }
    }
}

/* memcpy may begin at the far end, past all guards: ranges that begin in an arena must end in it. */
static void check_range(const uint8_t *start, uint32_t bytes, const char *what) {
    for (const struct arena *a = edgec_arenas; a->name; a++) {
        if (start >= a->start && start < a->start + a->bytes &&
            bytes > a->bytes - (uint64_t)(start - a->start)) {
            trap(what, a->name);
        }
    }
}

static void check_transfer(const void *dst, const void *src, uint32_t bytes) {
    check_range(dst, bytes, "a DMA transfer writes after the end of ");
    check_range(src, bytes, "a DMA transfer reads after the end of ");
}

#else

static void check_transfer(const void *dst, const void *src, uint32_t bytes) {
    (void)dst, (void)src, (void)bytes;
}

#endif

void hal_init(void) {
    const char *cores = getenv("EDGEC_CORES");
    const long n = cores ? strtol(cores, NULL, 10) : 1;
    if (n < 1 || n > 1024) {
        trap("EDGEC_CORES must be 1 to 1024, it is ", cores);
    }
    n_cores = (uint32_t)n;
#ifdef EDGEC_VERIFY
    protect();
#endif
}

void hal_fork(hal_kernel kernel, const void *args) {
    if (forking) {
        trap("a fork inside a fork", "");
    }
    forking = 1;
    for (uint32_t core = n_cores;
         core-- > 0;) { /* descending: a kernel that relies on core 0 being first shows */
        kernel(args, core, n_cores);
    }
    forking = 0;
}

void hal_fork_team(hal_kernel kernel, const void *args) {
    if (forking) {
        trap("a fork inside a fork", "");
    }
    forking = alone = 1;
    kernel(args, 0, 1);
    forking = alone = 0;
}

void hal_barrier(void) {
    if (forking && !alone && n_cores > 1) {
        trap("a barrier between cores that run one after the other", "");
    }
}

#ifdef EDGEC_DMA_LATE

#define QUEUE 1024u

static struct transfer {
    void *dst;
    const void *src;
    uint32_t bytes;
} queue[QUEUE];
static uint32_t queued = 0;

void hal_dma_start(void *dst, const void *src, uint32_t bytes) {
    check_transfer(dst, src, bytes);
    if (queued == QUEUE) {
        trap("more than 1024 transfers outstanding", "");
    }
    queue[queued++] = (struct transfer){dst, src, bytes};
    memset(dst, CANARY, bytes); /* reading too early must not find the right bytes of an earlier round */
}

void hal_dma_wait(void) {
    while (queued > 0) {
        queued--;
        memcpy(queue[queued].dst, queue[queued].src, queue[queued].bytes);
    }
}

#else

void hal_dma_start(void *dst, const void *src, uint32_t bytes) {
    check_transfer(dst, src, bytes);
    memcpy(dst, src, bytes);
}

void hal_dma_wait(void) {
}

#endif

uint64_t hal_cycles(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint32_t hal_read(void *data, uint32_t bytes) {
#ifdef EDGEC_VERIFY
    check_gaps();
#endif
    fflush(stdout);
    return (uint32_t)fread(data, 1, bytes, stdin);
}

void hal_write(const void *data, uint32_t bytes) {
    if (fwrite(data, 1, bytes, stdout) != bytes) {
        hal_exit(1); /* nobody listens any more */
    }
}

void hal_print(const char *text) {
#ifdef EDGEC_VERIFY
    fputs(text, stderr); /* stdout carries records */
#else
    fputs(text, stdout);
#endif
}

void hal_exit(int code) {
    fflush(stdout);
    exit(code);
}

void hal_trace(uint32_t value_id, const void *data, uint32_t bytes) {
    const hal_record record = {HAL_TRACE, value_id, bytes};
    hal_write(&record, sizeof record);
    hal_write(data, bytes);
}
