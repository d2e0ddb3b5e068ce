#include "embed_neureka.h"

#include "embed_neureka_fours.h"

EDGEC_INLINE void edgec_embed_rows(const edgec_embed_neureka_args *a, uint32_t core, uint32_t n_cores,
                                   uint32_t one) {
    const edgec_embed_image image = edgec_embed_image_of(a, one);
    edgec_embed_fours(a, &image, edgec_split(a->m * image.taps * image.fours, core, n_cores), one);
    if (a->tail) {
        edgec_embed_tail(a, &image, edgec_split(a->m * a->tail, core, n_cores));
    }
}

void edgec_embed_neureka(const edgec_embed_neureka_args *a, uint32_t core, uint32_t n_cores) {
    edgec_embed_rows(a, core, n_cores, 0);
}

void edgec_embed_neureka_1x1(const edgec_embed_neureka_1x1_args *a, uint32_t core, uint32_t n_cores) {
    edgec_embed_rows(a, core, n_cores, 1);
}
