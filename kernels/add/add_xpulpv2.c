/* The kernel of add.h for cores with XpulpV2. */
#include "add.h"

#include "edgec_rows_xpulpv2.h"

void edgec_add(const edgec_add_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_share(a->rows * a->k, core, n_cores);
    const float *left = a->a + mine.begin;
    const float *right = a->b + mine.begin;
    float *y = a->y + mine.begin;
    uint32_t count = mine.end - mine.begin;
#if defined(EDGEC_PULP_FLOAT)
    if (count > 0) {
        uint32_t l, r;
        /* clang-format off */
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[count]", "4",
                EDGEC_P_LW("%[l]", "4", "%[left]")
                EDGEC_P_LW("%[r]", "4", "%[right]")
                "fadd.s %[l], %[l], %[r]\n\t"
                EDGEC_P_SW("%[l]", "4", "%[y]"))
            : [left] "+r"(left), [right] "+r"(right), [y] "+r"(y), [l] "=&r"(l), [r] "=&r"(r)
            : [count] "r"(count)
            : "memory");
        /* clang-format on */
    }
#else
    for (; count > 0; count--) {
        *y++ = *left++ + *right++;
    }
#endif
}
