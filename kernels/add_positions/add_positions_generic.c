#include "add_positions.h"

#include "edgec_math.h"

void edgec_add_positions(const edgec_add_positions_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->m * a->k, core, n_cores);
    for (uint32_t i = mine.begin; i < mine.end; i++) {
        a->y[i] = a->x[i] + edgec_f16_to_f32(a->table[i]);
    }
}
