/* Four neighbours of an encoded row at a time: bit b of all four is half a byte, which is spread to four bytes. */
#ifndef EDGEC_EMBED_NEUREKA_FOURS_H
#define EDGEC_EMBED_NEUREKA_FOURS_H

#include "embed_neureka.h"

#include "edgec_math.h"

#define EDGEC_EMBED_LINE 32u

/* A row of a group as an image of `taps` positions and cin channels, of which `block` are in a line's bits. */
typedef struct {
    uint32_t size; /* of it that are encoded */
    uint32_t groups;
    uint32_t taps;
    uint32_t block;
    uint32_t cin;
    uint32_t fours; /* of a position; the last may be short */
    uint32_t line;  /* bytes of the row */
} edgec_embed_image;

EDGEC_INLINE edgec_embed_image edgec_embed_image_of(const edgec_embed_neureka_args *a, uint32_t one) {
    const uint32_t single = a->k <= a->group_size;
    edgec_embed_image image = {.size = (single ? a->k : a->group_size) - a->tail,
                               .groups = single ? 1u : a->k / a->group_size};
    image.taps = one ? 1u : 9u;
    image.block = one ? 32u : 28u;
    image.cin = (image.size + image.taps - 1u) / image.taps;
    image.fours = (image.cin + 3u) / 4u;
    image.line = (image.cin + image.block - 1u) / image.block * (one ? 1u : a->bits) * EDGEC_EMBED_LINE;
    return image;
}

/* Bit j of half a byte as bit 0 of byte j. */
EDGEC_INLINE uint32_t edgec_embed_spread(uint32_t half) {
    return (half & 15u) * 0x00204081u & 0x01010101u;
}

/* Four weights, one in each byte. w: the byte of the first bit; its half: `shift`, 0 or 4. */
EDGEC_INLINE uint32_t edgec_embed_four(const uint8_t *w, uint32_t shift, uint32_t bits, uint32_t one) {
    uint32_t u = 0;
    if (one) { /* two bits a byte */
        EDGEC_UNROLL_4
        for (uint32_t b = 4; b > 0; b--) {
            u = u << 2 | edgec_embed_spread((uint32_t)w[b - 1u] >> 4) << 1 | edgec_embed_spread(w[b - 1u]);
        }
        return u;
    }
    w += (bits - 1u) * EDGEC_EMBED_LINE;
    EDGEC_UNROLL_4
    for (uint32_t b = bits; b > 0; b--) {
        u = u << 1 | edgec_embed_spread((uint32_t)*w >> shift);
        w -= EDGEC_EMBED_LINE;
    }
    return u;
}

/* Fours mine.begin .. mine.end - 1 of all rows. one: 1x1 form. */
EDGEC_INLINE void edgec_embed_fours(const edgec_embed_neureka_args *a, const edgec_embed_image *image,
                                    edgec_range mine, uint32_t one) {
    const int32_t middle = 1 << (a->bits - 1u);
    uint32_t tap = mine.begin / image->fours;
    uint32_t channel = 4u * (mine.begin - tap * image->fours);
    const uint32_t row = tap / image->taps;
    tap -= row * image->taps;
    const uint8_t *w = a->w + row * image->line; /* [line] */
    const uint16_t *scale = a->w_scale + row * image->groups + a->group;
    float *y = a->y + row * a->k; /* [size] */
    if (mine.begin == mine.end) {
        return;
    }
    float factor = edgec_f16_to_f32(*scale);
    EDGEC_UNROLL_1
    for (uint32_t left = mine.end - mine.begin; left > 0; left--) {
        const uint32_t block = one || image->cin <= image->block ? 0u : channel / image->block;
        const uint32_t half = one ? 2u * channel : 7u * tap + (channel - block * image->block) / 4u;
        const uint8_t *from = w + block * a->bits * EDGEC_EMBED_LINE + half / 2u;
        uint32_t u = edgec_embed_four(from, 4u * (half & 1u), a->bits, one);
        /* A position ends, and in 3x3 form the image has up to 8 inputs more than there are. */
        const uint32_t first = tap * image->cin + channel;
        const uint32_t end = (tap + 1u) * image->cin < image->size ? (tap + 1u) * image->cin : image->size;
        if (first + 4u <= end) {
            EDGEC_UNROLL_4
            for (uint32_t j = 0; j < 4u; j++) {
                y[first + j] = (float)((int32_t)(u >> 8u * j & 255u) - middle) * factor * a->factor;
            }
        } else {
            EDGEC_UNROLL_1
            for (uint32_t i = first; i < end; i++) {
                y[i] = (float)((int32_t)(u & 255u) - middle) * factor * a->factor;
                u >>= 8;
            }
        }
        channel += 4u;
        if (channel >= image->cin) {
            channel = 0;
            if (++tap == image->taps) {
                tap = 0;
                w += image->line;
                scale += image->groups;
                y += a->k;
                if (left > 1u) {
                    factor = edgec_f16_to_f32(*scale);
                }
            }
        }
    }
}

/* A core's part of what is not encoded. */
EDGEC_INLINE void edgec_embed_tail(const edgec_embed_neureka_args *a, const edgec_embed_image *image,
                                   edgec_range mine) {
    EDGEC_UNROLL_1
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t row = unit / a->tail, i = unit - row * a->tail;
        const uint32_t group = row * image->groups + a->group;
        const float factor = edgec_f16_to_f32(a->w_scale[group]);
        a->y[row * a->k + image->size + i] = (float)a->w_tail[group * a->tail + i] * factor * a->factor;
    }
}

#endif
