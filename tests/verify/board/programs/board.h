/* Registers, instructions and the runtime of the test programs. */
#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define EVENTS            0x10204000u
#define DMA               0x10204400u
#define STDOUT            0x1A10F000u
#define EXIT              0x1A1040A0u
#define INTO_L1           (1u << 17)
#define INCREMENT         (1u << 18)
#define TWO_D             (1u << 19)
#define EVENT             (1u << 20)

#define L1   __attribute__((section(".l1"), used))
#define MRAM __attribute__((section(".mram"), used))
#define TILE __attribute__((section(".tile"), used))

struct mailbox {
    volatile uint32_t operation, address, bytes, answer;
};
extern struct mailbox edgec_mailbox;
void hal_siracusa_idle(void);
void core_main(uint32_t core);

static inline uint32_t wait(uint32_t address) {
    uint32_t value;
    __asm__ volatile(".insn i 0x03, 6, %0, 0(%1)" : "=r"(value) : "r"(address) : "memory");
    return value;
}

static inline void barrier_open(void) {
    REGISTER(EVENTS + 0x200) = (1u << CORES) - 1u;
    REGISTER(EVENTS + 0x20C) = (1u << CORES) - 1u;
}

static inline void listen(uint32_t events) {
    REGISTER(EVENTS + 0x08) = events;
}

static inline void barrier(void) {
    wait(EVENTS + 0x21C);
}

static inline uint32_t sdotsp(uint32_t acc, uint32_t a, uint32_t b) {
    __asm__("" : "+r"(acc));
    __asm__ volatile(".insn r 0x57, 1, 0x5C, %0, %1, %2" : "+r"(acc) : "r"(a), "r"(b));
    return acc;
}

static inline uint32_t dma(uint32_t command, volatile void *inner, volatile void *outer) {
    __asm__ volatile("" ::: "memory"); /* the DMA reads and writes behind the compiler's back */
    const uint32_t id = REGISTER(DMA);
    REGISTER(DMA) = command;
    REGISTER(DMA) = (uint32_t)(uintptr_t)inner;
    REGISTER(DMA) = (uint32_t)(uintptr_t)outer;
    return id;
}

static inline void dma_wait(uint32_t id) {
    while (REGISTER(DMA + 4) >> id & 1u) {
    }
    REGISTER(DMA + 4) = 1u << id;
    __asm__ volatile("" ::: "memory");
}

static inline void mail(uint32_t operation, const volatile void *data, uint32_t bytes, uint32_t answer) {
    edgec_mailbox.address = (uint32_t)(uintptr_t)data;
    edgec_mailbox.bytes = bytes;
    edgec_mailbox.answer = answer;
    edgec_mailbox.operation = operation;
    hal_siracusa_idle();
}

static inline void leave(uint32_t code) {
    REGISTER(EXIT) = code | 1u << 31;
    for (;;) {
    }
}
