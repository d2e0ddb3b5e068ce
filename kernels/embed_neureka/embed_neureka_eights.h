/* Rows in 3x3 form whose groups fill their lines, 9 positions of 28 inputs, and whose weights have at most 4 bits: byte i of
 * the lines has eight neighbours, from element 8i on, one bit of each in a line. */
#ifndef EDGEC_EMBED_NEUREKA_EIGHTS_H
#define EDGEC_EMBED_NEUREKA_EIGHTS_H

#include "edgec_math.h"
#include "edgec_rows_xpulpv2.h"
#include "embed_neureka_fours.h"

#define EDGEC_EMBED_FULL 252u /* inputs of a group that fills its lines */
#define EDGEC_EMBED_GATHER                                                                                   \
    0x01020408u /* bit 0 of byte b moves to bit 24 + b, the rest elsewhere or out: no two meet */

EDGEC_INLINE int edgec_embed_is_full(const edgec_embed_image *image, uint32_t bits) {
    return image->taps == 9u && image->size == EDGEC_EMBED_FULL && bits <= 4u;
}

/* A core's part of all rows. */
EDGEC_INLINE void edgec_embed_eights(const edgec_embed_neureka_args *a, const edgec_embed_image *image,
                                     uint32_t core, uint32_t n_cores) {
    const edgec_range mine = edgec_share(a->m * EDGEC_EMBED_LINE, core, n_cores);
    const int32_t middle = 1 << (a->bits - 1u);
    EDGEC_UNROLL_1
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t row = unit / EDGEC_EMBED_LINE, i = unit % EDGEC_EMBED_LINE;
        const uint8_t *w = a->w + row * image->line + i;
        const float factor = edgec_f16_to_f32(a->w_scale[row * image->groups + a->group]);
        float *y = a->y + row * a->k + 8u * i;
        uint32_t bits = 0;
        EDGEC_UNROLL_4
        for (uint32_t b = a->bits; b > 0; b--) {
            bits = bits << 8 | w[(b - 1u) * EDGEC_EMBED_LINE];
        }
        EDGEC_UNROLL_1
        for (uint32_t left = i + 1u < EDGEC_EMBED_LINE ? 2u : 1u; left > 0; left--) {
            EDGEC_UNROLL_4
            for (uint32_t j = 0; j < 4u; j++) {
                const uint32_t u = (bits >> j & 0x01010101u) * EDGEC_EMBED_GATHER >> 24;
                *y++ = (float)((int32_t)u - middle) * factor * a->factor;
            }
            bits >>= 4;
        }
    }
}

#endif
