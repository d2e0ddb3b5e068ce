/* embed_neureka: rows of one group of an embedding table that is encoded for N-EUREKA (edgec/neureka/encode.py), already
 * gathered, dequantised to float32.
 *
 *     y[m][group * size + i] = (float32(u[m][i] - 2^(bits-1)) * w_scale[m][group]) * factor,   i < size
 *
 * size = min(k, group_size), of which k is a multiple; groups = k / size. The last `tail` weights of a group may
 * be w_tail's instead, which has u - 2^(bits-1): w then has those before, which are whole blocks of 252.
 *
 *     embed_neureka       3x3 form: the inputs are an image of 9 positions and cin = ceil(size / 9) channels; input i is
 *                         position i / cin, channel i % cin. For each block of 28 channels there are `bits` lines of 32
 *                         bytes; bit 28 * position + channel % 28 of line b is bit b of the weight.
 *     embed_neureka_1x1   1x1 form: for each block of 32 inputs there is a line of 32 bytes, a word for every four
 *                         inputs; bit 4 * b + i % 4 of the word is bit b of the weight, which has 8 bits.
 *
 * line = the bytes of a row's lines. Either way bit b of four neighbours is half a byte: units are fours.
 */
#ifndef EDGEC_EMBED_NEUREKA_H
#define EDGEC_EMBED_NEUREKA_H

#include "edgec_kernel.h"

typedef struct {
    const uint8_t *w;        /* [m][line] of this group */
    const uint16_t *w_scale; /* [m][groups], binary16 */
    float *y;                /* [m][k] of which [m][size]: from the group's first column on */
    uint32_t m;
    uint32_t k;
    uint32_t bits;
    uint32_t group_size;
    uint32_t group;
    float factor;
    const int8_t *w_tail; /* [m][groups][tail], or NULL */
    uint32_t tail;
} edgec_embed_neureka_args;

typedef edgec_embed_neureka_args edgec_embed_neureka_1x1_args; /* bits = 8 */

void edgec_embed_neureka(const edgec_embed_neureka_args *a, uint32_t core, uint32_t n_cores);
void edgec_embed_neureka_1x1(const edgec_embed_neureka_1x1_args *a, uint32_t core, uint32_t n_cores);

#endif
