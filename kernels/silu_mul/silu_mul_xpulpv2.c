/* The kernel of silu_mul.h for cores with XpulpV2. */
#include "silu_mul.h"

#include "edgec_silu_xpulpv2.h"

void edgec_silu_mul(const edgec_silu_mul_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_share(a->rows * a->k, core, n_cores);
    uint32_t row = 0, column = mine.begin;
    EDGEC_UNROLL_1
    for (; column >= a->k; column -= a->k) { /* few as a rule: shorter than a division */
        row++;
    }
    for (uint32_t i = mine.begin; i < mine.end; row++) {
        const uint32_t count = edgec_p_minu(mine.end - i, a->k - column);
        const size_t at = (size_t)row * a->ldx + column;
        edgec_silu_row(a->gate + at, a->up + at, a->y + i, count, 0.0f);
        i += count;
        column = 0;
    }
}
