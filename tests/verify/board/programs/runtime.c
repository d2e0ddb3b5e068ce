#include "board.h"

struct mailbox edgec_mailbox;

__attribute__((noinline)) void hal_siracusa_idle(void) {
    __asm__ volatile("" ::: "memory");
}
