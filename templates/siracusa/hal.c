/* The HAL of Siracusa's cluster, with no vendor SDK: kernels on all cores, transfers by mchan and HyperBus.
 *
 * The controller has started the cores (crt0.S); core 0 runs main, the others wait at the barrier for a kernel.
 * Byte streams and traces go through a mailbox that a debugger, or edgec's emulated board, serves.
 */
#include "hal.h"

#include "chip.h"
#include "edgec_math.h"
#include "edgec_silu.h"
#include "freestanding.h"

#define REGISTER CHIP_REGISTER
#include "hyperbus.h"

extern volatile uint32_t hal_neureka_state[8]; /* of the accelerator's driver: 0 at first */
/* edgec_sigmoid_lines, and edgec_exp2_bytes from its end on: eight cores that read them from tile SRAM wait for each
 * other. */
extern volatile uint32_t hal_sigmoid_lines[EDGEC_SIGMOID_LINES][2];
extern volatile uint8_t hal_exp2_down[EDGEC_EXP2_BYTES];

/* ---- Cores ---- */

static inline uint32_t this_core(void) {
    uint32_t hart;
    __asm__("csrr %0, mhartid" : "=r"(hart));
    return hart & 15u;
}

static void listen(void) {
    REGISTER(CHIP_EVENTS + CHIP_EVENT_MASK_OR) = 1u << CHIP_EVENT_BARRIER;
}

_Noreturn void hal_siracusa_worker(void);
_Noreturn void hal_siracusa_worker(void) {
    const uint32_t core = this_core();
    listen();
    for (;;) {
        hal_barrier(); /* until there is a kernel */
        hal_siracusa_state.kernel(hal_siracusa_state.args, core, EDGEC_CORES);
        hal_barrier();
    }
}

void hal_init(void) {
    /* In this order: while no core must arrive, all have, and a target would be told. */
    REGISTER(CHIP_EVENTS + CHIP_BARRIER + CHIP_BARRIER_CORES) = (1u << EDGEC_CORES) - 1u;
    REGISTER(CHIP_EVENTS + CHIP_BARRIER + CHIP_BARRIER_TARGETS) = (1u << EDGEC_CORES) - 1u;
    listen();
    (void)REGISTER(CHIP_DMA_QUEUE); /* opens the group that all transfers belong to */
    hal_siracusa_state.hyper_open = 0;
    hal_siracusa_state.step_began = 0;
    hyper_init();
    for (uint32_t i = 0; i < 8u; i++) {
        hal_neureka_state[i] = 0;
    }
    for (uint32_t i = 0; i < EDGEC_SIGMOID_LINES; i++) {
        hal_sigmoid_lines[i][0] = edgec_sigmoid_lines[i][0];
        hal_sigmoid_lines[i][1] = edgec_sigmoid_lines[i][1];
    }
    for (uint32_t i = 0; i < EDGEC_EXP2_BYTES; i++) {
        hal_exp2_down[i] = edgec_exp2_bytes[EDGEC_EXP2_BYTES - 1u - i];
    }
    REGISTER(CHIP_TIMER) = 3; /* counts from 0 */
}

/* ---- DMA and clock ---- */

void hal_dma_start(void *dst, const void *src, uint32_t bytes) {
    const uint32_t to = (uint32_t)dst, from = (uint32_t)src;
    if (to >= CHIP_L3 || from >= CHIP_L3) {
        hal_siracusa_state.hyper_open = 1;
        hyper_copy(to, from, bytes);
    } else if (to - CHIP_L1 < CHIP_L1_BYTES) {
        hal_dma_into(dst, src, bytes);
    } else {
        hal_dma_out_of(src, dst, bytes);
    }
}

void hal_dma_wait(void) {
    if (hal_siracusa_state.hyper_open) {
        hyper_wait();
        hal_siracusa_state.hyper_open = 0;
    }
    hal_dma_end();
}

uint64_t hal_cycles(void) {
    return REGISTER(CHIP_TIMER + 8);
}

/* ---- Main programs ---- */

enum { READ = 1, WRITE, PRINT, TRACE };

/* A request to the other side, which sets operation to 0 when it has carried it out. */
struct mailbox {
    volatile uint32_t operation;
    volatile uint32_t address;
    volatile uint32_t bytes;
    volatile uint32_t answer; /* of READ: how many bytes came; of TRACE: the value's id */
};
extern struct mailbox edgec_mailbox;
struct mailbox edgec_mailbox;

/* Where the other side looks into the mailbox. */
void hal_siracusa_idle(void);
__attribute__((noinline)) void hal_siracusa_idle(void) {
    __asm__ volatile("" ::: "memory");
}

static uint32_t request(uint32_t operation, const void *data, uint32_t bytes, uint32_t answer) {
    edgec_mailbox.address = (uint32_t)data;
    edgec_mailbox.bytes = bytes;
    edgec_mailbox.answer = answer;
    edgec_mailbox.operation = operation;
    while (edgec_mailbox.operation) {
        hal_siracusa_idle();
    }
    return edgec_mailbox.answer;
}

uint32_t hal_read(void *data, uint32_t bytes) {
    uint32_t done = 0;
    while (done < bytes) {
        done += request(READ, (uint8_t *)data + done, bytes - done, 0);
    }
    return done;
}

void hal_write(const void *data, uint32_t bytes) {
    request(WRITE, data, bytes, 0);
}

void hal_print(const char *text) {
    while (*text != '\0') {
        REGISTER(CHIP_OUTPUT) = (uint8_t)*text++;
    }
}

_Noreturn void hal_exit(int code) {
    REGISTER(CHIP_EXIT) = (uint32_t)code | 1u << 31;
    for (;;) {
        hal_siracusa_idle();
    }
}

static void print_number(uint32_t value) {
    char text[11];
    char *p = text + sizeof text;
    *--p = '\0';
    do {
        *--p = (char)('0' + value % 10u);
        value /= 10u;
    } while (value > 0);
    hal_print(p);
}

void hal_steps(void) {
    hal_siracusa_state.step_began = (uint32_t)hal_cycles();
}

void hal_step(uint32_t step) {
    const uint32_t cycles = (uint32_t)hal_cycles() - hal_siracusa_state.step_began;
    hal_print("#");
    print_number(step);
    hal_print(" ");
    print_number(cycles);
    hal_print("\n");
    hal_siracusa_state.step_began = (uint32_t)hal_cycles(); /* printing is no step's */
}

void hal_trace(uint32_t value_id, const void *data, uint32_t bytes) {
    request(TRACE, data, bytes, value_id);
}
