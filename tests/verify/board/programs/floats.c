/* Float arithmetic of all kinds on the bit patterns of the input: a, b, c → a row of results. */
#include "board.h"

static float f(uint32_t bits) {
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
}

static uint32_t bits(float value) {
    uint32_t word;
    __builtin_memcpy(&word, &value, 4);
    return word;
}

#ifdef __riscv_zfinx
#define IN_REGISTER "r"
#else
#define IN_REGISTER "f"
#endif

static float square_root(float a) {
    float root;
    __asm__("fsqrt.s %0, %1" : "=" IN_REGISTER(root) : IN_REGISTER(a));
    return root;
}

#define FUSED(name)                                                                                          \
    static float name(float a, float b, float c) {                                                           \
        float sum;                                                                                           \
        __asm__(#name ".s %0, %1, %2, %3"                                                                    \
                : "=" IN_REGISTER(sum)                                                                       \
                : IN_REGISTER(a), IN_REGISTER(b), IN_REGISTER(c));                                           \
        return sum;                                                                                          \
    }
FUSED(fmadd)
FUSED(fnmadd)

void core_main(uint32_t core) {
    (void)core;
    for (;;) {
        uint32_t in[3];
        mail(1, in, sizeof in, 0);
        const float a = f(in[0]), b = f(in[1]), c = f(in[2]);
        const uint32_t row[] = {
            bits(a + b),
            bits(a - b),
            bits(a * b),
            bits(a / b),
            bits(square_root(__builtin_fabsf(a))),
            bits(fmadd(a, b, c)),
            bits(fnmadd(a, b, c)),
            bits(__builtin_copysignf(a, b)),
            bits(-a),
            a<b, a <= b, a == b, bits((float)(int32_t)in[0]), bits((float)in[0]), a> - 2e9f && a < 2e9f
                ? (uint32_t)(int32_t)a
                : 0,
            a >= 0 && a < 4e9f ? (uint32_t)a : 0,
        };
        mail(2, row, sizeof row, 0);
    }
}
