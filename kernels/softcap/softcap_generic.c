#include "softcap.h"

#include "edgec_math.h"

void edgec_softcap(const edgec_softcap_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->n, core, n_cores);
    const float slope = 2.0f / a->cap;
    for (uint32_t i = mine.begin; i < mine.end; i++) {
        a->y[i] = edgec_capped(a->x[i], a->cap, slope);
    }
}
