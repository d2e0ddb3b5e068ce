/* Runs any kernel on the chip's cores, as a command says: the test's side is board_kernels.py.
 *
 * A command is a header, the words of the kernel's arguments, and the bytes of the two arenas. Words that `pointers` marks
 * are offsets into the arena in L1, or, where `streamed` marks them too, into the one that the accelerator reads. The
 * answer is the arena in L1.
 */
#include "hal.h"

#define WORDS      64u
#define NEAR_BYTES 163840u
#define FAR_BYTES  1048576u
#define NONE       0xFFFFFFFFu

extern const struct {
    hal_kernel kernel;
    uint32_t directed;
} board_kernels[];

__attribute__((section(".edgec.L1"), aligned(16))) uint8_t near_arena[NEAR_BYTES];
__attribute__((section(".edgec.TILE"), aligned(32))) uint8_t far_arena[FAR_BYTES];

typedef struct {
    uint32_t kernel;
    uint32_t words;
    uint64_t pointers; /* a bit a word */
    uint64_t streamed;
    uint32_t near_bytes;
    uint32_t far_bytes;
} header;

int main(void) {
    hal_init();
    for (;;) {
        header h;
        uint32_t args[WORDS];
        if (hal_read(&h, sizeof h) < sizeof h) {
            hal_exit(0);
        }
        hal_read(args, 4u * h.words);
        hal_read(near_arena, h.near_bytes);
        hal_read(far_arena, h.far_bytes);
        for (uint32_t i = 0; i < h.words; i++) {
            if (h.pointers >> i & 1u) {
                uint8_t *const arena = h.streamed >> i & 1u ? far_arena : near_arena;
                args[i] = args[i] == NONE ? 0u : (uint32_t)(uintptr_t)(arena + args[i]);
            }
        }
        if (board_kernels[h.kernel].directed) {
            board_kernels[h.kernel].kernel(args, 0, 1);
        } else {
            hal_fork(board_kernels[h.kernel].kernel, args);
        }
        hal_write(near_arena, h.near_bytes);
    }
}
