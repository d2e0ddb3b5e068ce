/* Two products in one 32-bit multiplication, for packed weights of at most 4 bits.
 *
 *     (u0 + u1 * 2^16) * (x1 + x0 * 2^16)  =  u0 * x1  +  (u0 * x0 + u1 * x1) * 2^16      modulo 2^32
 *
 * Over a run of 16 elements, 8 such pairs, the low half adds up to less than 2^15 in magnitude and so does what
 * the high half holds besides (8 * 2 * 15 * 127 = 30,480): rounded to a multiple of 2^16, the sum is exactly the
 * run's sum of u * x. The elements of a pair are 2 apart: in a plane of packed weights (edgec_unpack.h) their
 * bytes are, so a shift and a mask take both out of a word.
 */
#ifndef EDGEC_PAIRS_H
#define EDGEC_PAIRS_H

#include "edgec_unpack.h"

#define EDGEC_PAIRS_BITS 4u  /* the widest weights whose runs do not overflow */
#define EDGEC_RUN        16u /* elements of a run */

/* Four bytes as a little-endian number; p is 4-byte aligned. */
EDGEC_INLINE uint32_t edgec_word(const uint8_t *p) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return *(const uint32_t *)(const void *)p;
#else
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
#endif
}

/* Elements j and j + 2 of a plane of p bits, in the low and the high half. j % 4 < 2. */
EDGEC_INLINE uint32_t edgec_plane_pair(const uint8_t *plane, uint32_t p, uint32_t j) {
    const uint32_t run = 32u / p;
    return (edgec_word(plane + j / run * 4u) >> (p * (j % run / 4u) + 8u * (j % 4u))) &
           (((1u << p) - 1u) * 0x00010001u);
}

/* Elements j and j + 2 of a block of 2- to 4-bit weights, in the low and the high half. j % 4 < 2. */
EDGEC_INLINE uint32_t edgec_weight_pair(uint32_t bits, const uint8_t *block, uint32_t j) {
    const uint32_t bit_bytes = edgec_block_elements(bits) / 8u;
    if (bits == 4u) {
        return edgec_plane_pair(block, 4, j);
    }
    if (bits == 2u) {
        return edgec_plane_pair(block, 2, j);
    }
    return edgec_plane_pair(block, 2, j) | edgec_plane_pair(block + 2u * bit_bytes, 1, j) << 2;
}

/* Inputs of a run as multipliers: pair i holds elements 4 * (i / 2) + i % 2 and the one 2 behind. */
EDGEC_INLINE void edgec_input_pairs(const int8_t *x, int32_t *pairs) {
    EDGEC_UNROLL_8
    for (uint32_t i = 0; i < EDGEC_RUN / 2u; i++) {
        const uint32_t j = i / 2u * 4u + i % 2u;
        pairs[i] = x[j + 2u] + x[j] * 65536;
    }
}

/* sum(u * x) over `elements` (8 or 16) of a run that begins at element `first`, a multiple of EDGEC_RUN, of the
 * block at hand. */
EDGEC_INLINE int32_t edgec_run_dot(uint32_t bits, const uint8_t *block, uint32_t first, uint32_t elements,
                                   const int32_t *pairs) {
    const uint32_t block_size = edgec_block_elements(bits);
    uint32_t sum = 0x8000u; /* the low half is rounded away */
    EDGEC_UNROLL_8
    for (uint32_t i = 0; i < elements / 2u; i++) {
        const uint32_t j = first + i / 2u * 4u + i % 2u;
        const uint8_t *at = block + j / block_size * edgec_block_bytes(bits);
        sum += edgec_weight_pair(bits, at, j % block_size) * (uint32_t)pairs[i];
    }
    return (int32_t)sum >> 16;
}

#endif
