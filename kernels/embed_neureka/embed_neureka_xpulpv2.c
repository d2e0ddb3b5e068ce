/* The kernels of embed_neureka.h for cores with XpulpV2: their copies know the shape. */
#include "embed_neureka.h"

#include "edgec_rows_xpulpv2.h"
#include "embed_neureka_eights.h"
#include "embed_neureka_fours.h"

EDGEC_INLINE void edgec_embed_rows(const edgec_embed_neureka_args *args, uint32_t core, uint32_t n_cores,
                                   uint32_t one) {
    EDGEC_KNOWN(edgec_embed_neureka_args, a, args);
    EDGEC_ALL_CORES(n_cores);
    const edgec_embed_image image = edgec_embed_image_of(a, one);
    if (EDGEC_SELDOM(a->tail > 0)) {
        edgec_embed_tail(a, &image, edgec_share(a->m * a->tail, core, n_cores));
    }
    if (!one && edgec_embed_is_full(&image, a->bits)) {
        edgec_embed_eights(a, &image, core, n_cores);
        return;
    }
    edgec_embed_fours(a, &image, edgec_share(a->m * image.taps * image.fours, core, n_cores), one);
}

void edgec_embed_neureka(const edgec_embed_neureka_args *a, uint32_t core, uint32_t n_cores) {
    edgec_embed_rows(a, core, n_cores, 0);
}

void edgec_embed_neureka_1x1(const edgec_embed_neureka_1x1_args *a, uint32_t core, uint32_t n_cores) {
    edgec_embed_rows(a, core, n_cores, 1);
}
