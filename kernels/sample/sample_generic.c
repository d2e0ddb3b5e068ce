#include "sample_tops.h"

static float edgec_sample_highest_of(const float *block, float top) {
    EDGEC_UNROLL_8
    for (uint32_t i = 0; i < EDGEC_SAMPLE_BLOCK; i++) {
        top = edgec_max(top, block[i]);
    }
    return top;
}

static void edgec_sample_parts_on_core(const void *args, uint32_t core, uint32_t n_cores) {
    edgec_sample_tops *c = edgec_sample_tops_of(args);
    edgec_sample_parts(c, c->a->logits, c->a->n, edgec_sample_highest_of, core, n_cores);
}

void edgec_sample(const edgec_sample_args *a, uint32_t core, uint32_t n_cores) {
    (void)core;
    (void)n_cores;
    uint32_t best;
    if (a->n < EDGEC_SAMPLE_BLOCK) {
        best = edgec_sample_first_of_few(a->logits, a->n);
    } else {
        edgec_sample_tops c;
        c.a = a;
        hal_fork(edgec_sample_parts_on_core, &c);
        best = edgec_sample_first(&c, a->logits);
    }
    const float temperature = edgec_float((uint32_t)a->params[EDGEC_SAMPLE_TEMPERATURE]);
    a->token[0] = (int32_t)(temperature > 0.0f ? edgec_sample_drawn(a, best) : best);
}
