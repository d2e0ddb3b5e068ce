#include "rope.h"

void edgec_rope(const edgec_rope_args *a, uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_split(a->m * a->heads, core, n_cores);
    const uint32_t d = a->head_dim;
    const uint32_t half = d / 2u;
    uint32_t row = mine.begin / a->heads;
    uint32_t head = mine.begin % a->heads;
    for (uint32_t unit = mine.begin; unit < mine.end;) {
        /* All of this core's heads of one row share the row's factors: they are converted once. */
        const uint32_t in_row = a->heads - head;
        const uint32_t count = mine.end - unit < in_row ? mine.end - unit : in_row;
        const int16_t *table = a->table + (size_t)row * d; /* [head_dim] */
        for (uint32_t i = 0; i < half; i++) {
            const float c = (float)table[i] * a->unit;
            const float s = (float)table[half + i] * a->unit;
            const float *x = a->x + (size_t)row * a->ldx + head * d + i; /* [count][head_dim] */
            float *y = a->y + (size_t)unit * d + i;                      /* [count][head_dim] */
            for (uint32_t h = count; h > 0; h--) {
                const float low = x[0];
                const float high = x[half];
                y[0] = low * c - high * s;
                y[half] = high * c + low * s;
                x += d;
                y += d;
            }
        }
        unit += count;
        head = 0;
        row++;
    }
}
