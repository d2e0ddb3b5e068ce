#include "pool.h"

void edgec_pool(const edgec_pool_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->k, core, n_cores);
    const float factor = a->mean ? 1.0f / (float)(a->pos + a->m) : 1.0f;
    for (uint32_t i = mine.begin; i < mine.end; i++) {
        float total = a->pos > 0 ? a->sum[i] : a->mean ? 0.0f : a->x[i];
        const float *x = a->x + i;
        for (uint32_t row = a->mean ? a->m : 0; row > 0; row--) {
            total += *x;
            x += a->k;
        }
        a->sum[i] = total;
        a->y[i] = total * factor;
    }
}
