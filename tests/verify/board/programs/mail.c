/* Answers each input byte b with b + 1, reports it, prints it; leaves with code 3 at 255. */
#include "board.h"

void core_main(uint32_t core) {
    if (core != 0) {
        return;
    }
    for (;;) {
        static uint8_t data[4];
        mail(1, data, sizeof data, 0);
        const uint32_t count = edgec_mailbox.answer;
        for (uint32_t i = 0; i < count; i++) {
            if (data[i] == 255) {
                leave(3);
            }
            mail(4, &data[i], 1, 1000 + data[i]);
            data[i]++;
            mail(2, &data[i], 1, 0);
            mail(3, "<", 1, 0);
            REGISTER(STDOUT + 8 * core) = 'a' + data[i];
        }
    }
}
