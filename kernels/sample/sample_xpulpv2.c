/* The kernel of sample.h for cores with XpulpV2. */
#include "edgec_rows_xpulpv2.h"
#include "sample_tops.h"

EDGEC_INLINE float edgec_sample_highest_of(const float *block, float top) {
#if defined(EDGEC_PULP_FLOAT)
    float a, b = top;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP_I("0", "8", "4", /* two cores share a float unit: they take turns */
            EDGEC_P_LW("%[a]", "4", "%[block]")
            "fmax.s %[top], %[top], %[b]\n\t" /* of the round before */
            EDGEC_P_LW("%[b]", "4", "%[block]")
            "fmax.s %[top], %[top], %[a]\n\t")
        "fmax.s %[top], %[top], %[b]\n\t"
        : [block] "+r"(block), [top] "+r"(top), [b] "+&r"(b), [a] "=&r"(a)
        :
        : "memory");
    /* clang-format on */
    _Static_assert(EDGEC_SAMPLE_BLOCK == 16, "8 rounds of two");
#else
    for (uint32_t i = 0; i < EDGEC_SAMPLE_BLOCK; i++) {
        top = edgec_max(top, block[i]);
    }
#endif
    return top;
}

static void edgec_sample_parts_on_core(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_ASSUME(core < n_cores);
    edgec_sample_tops *c = edgec_sample_tops_of(args);
    EDGEC_KNOWN(edgec_sample_args, a, c->a);
    edgec_sample_parts(c, a->logits, a->n, edgec_sample_highest_of, core, n_cores);
}

void edgec_sample(const edgec_sample_args *args, uint32_t core, uint32_t n_cores) {
    (void)core;
    (void)n_cores;
    EDGEC_KNOWN(edgec_sample_args, a, args);
    uint32_t best;
    if (EDGEC_SELDOM(a->n < EDGEC_SAMPLE_BLOCK)) {
        best = edgec_sample_first_of_few(a->logits, a->n);
    } else {
        edgec_sample_tops c;
        c.a = args;
        hal_fork(edgec_sample_parts_on_core, &c);
        best = edgec_sample_first(&c, a->logits);
    }
    if (EDGEC_SELDOM(edgec_float((uint32_t)a->params[EDGEC_SAMPLE_TEMPERATURE]) > 0.0f)) {
        best = edgec_sample_drawn(args, best);
    }
    a->token[0] = (int32_t)best;
}
