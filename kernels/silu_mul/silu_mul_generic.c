#include "silu_mul.h"

#include "edgec_rows.h"

void edgec_silu_mul(const edgec_silu_mul_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->rows * a->k, core, n_cores);
    uint32_t column = mine.begin % a->k;
    size_t at = (size_t)(mine.begin / a->k) * a->ldx + column;
    for (uint32_t i = mine.begin; i < mine.end; i++) {
        a->y[i] = edgec_silu(a->gate[at]) * a->up[at];
        at++;
        if (++column == a->k) {
            column = 0;
            at += a->ldx - a->k;
        }
    }
}
