/* The kernel of rmsnorm.h for cores with XpulpV2. */
#include "rmsnorm.h"

#include "edgec_rows_xpulpv2.h"

/* y = (x * gain) * r. x, gain, y: [count], at least 1 */
EDGEC_INLINE void edgec_normalise(const float *x, const float *gain, float *y, uint32_t count, float r) {
#if defined(EDGEC_PULP_FLOAT)
    uint32_t a, b;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[count]", "5",
            EDGEC_P_LW("%[a]", "4", "%[x]")
            EDGEC_P_LW("%[b]", "4", "%[gain]")
            "fmul.s %[a], %[a], %[b]\n\t"
            "fmul.s %[a], %[a], %[r]\n\t"
            EDGEC_P_SW("%[a]", "4", "%[y]"))
        : [x] "+r"(x), [gain] "+r"(gain), [y] "+r"(y), [a] "=&r"(a), [b] "=&r"(b)
        : [count] "r"(count), [r] "r"(r)
        : "memory");
    /* clang-format on */
#else
    for (; count > 0; count--) {
        *y++ = (*x++ * *gain++) * r;
    }
#endif
}

void edgec_rmsnorm(const edgec_rmsnorm_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t k = a->k;
    /* A row in place is one core's. Else a core takes its share of each row's elements, and sums up all. */
    const uint32_t together = a->y == a->x || a->rows >= n_cores;
    const edgec_range rows = together ? edgec_share(a->rows, core, n_cores) : (edgec_range){0, a->rows};
    const edgec_range mine = together ? (edgec_range){0, k} : edgec_share(k, core, n_cores);
    if (mine.begin == mine.end) {
        return;
    }
    for (uint32_t row = rows.begin; row < rows.end; row++) {
        const float *x = a->x + (size_t)row * k; /* [k] */
        const float r = edgec_rsqrt_steps(edgec_sum_squares_lanes(x, k) * a->inv_k + a->eps);
        edgec_normalise(x + mine.begin, a->gain + mine.begin, a->y + (size_t)row * k + mine.begin,
                        mine.end - mine.begin, r);
    }
}
