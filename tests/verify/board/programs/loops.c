#include "board.h"

uint32_t loop_register(uint32_t), loop_immediate(uint32_t), loop_nested(uint32_t), loop_same_end(uint32_t);
uint32_t loop_parts(uint32_t), loop_count_first(uint32_t), loop_passed_again(uint32_t),
    loop_branches(uint32_t);
uint32_t loop_addresses(uint32_t), loop_replaced(uint32_t);

void hal_step(uint32_t step);
__attribute__((noinline)) void hal_step(uint32_t step) {
    __asm__ volatile("" ::"r"(step) : "memory");
}

static uint32_t (*const functions[])(uint32_t) = {
    loop_register,    loop_immediate,    loop_nested,   loop_same_end,  loop_parts,
    loop_count_first, loop_passed_again, loop_branches, loop_addresses, loop_replaced,
};

void core_main(uint32_t core) {
    (void)core;
    static const uint32_t counts[] = {1, 2, 7, 100, 0};
    for (uint32_t f = 0; f < sizeof functions / sizeof functions[0]; f++) {
        uint32_t answers[4];
        for (int i = 0; i < 4; i++) {
            hal_step(f * 4 + i);
            answers[i] = functions[f](counts[i]);
        }
        mail(2, answers, sizeof answers, 0);
    }
    hal_step(1000);
    uint32_t none = loop_register(0);
    mail(2, &none, sizeof none, 0);
    leave(0);
}
