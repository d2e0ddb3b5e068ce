#include "group_sums.h"

void edgec_group_sums(const edgec_group_sums_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t groups = (a->k + a->group_size - 1u) / a->group_size;
    const edgec_range mine = edgec_split(a->m * groups, core, n_cores);
    uint32_t row = mine.begin / groups;
    uint32_t first = mine.begin % groups * a->group_size; /* in the row */
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t left = a->k - first;
        const uint32_t count = left < a->group_size ? left : a->group_size;
        const int8_t *x = a->x + (size_t)row * a->k + first;
        int32_t sum = 0;
        EDGEC_UNROLL_8
        for (uint32_t i = 0; i < count; i++) {
            sum += x[i];
        }
        a->sums[unit] = sum;
        first += count;
        if (first == a->k) {
            first = 0;
            row++;
        }
    }
}
