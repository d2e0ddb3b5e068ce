/* Packed 2- to 8-bit weights (edgec/packing.py), element by element.
 *
 * A group of weights is a sequence of blocks, the last one padded with zeros. A width is a sum of planes of
 * 8, 4, 2 or 1 bits, stored one after the other in a block: the binary digits of `bits`, as 7 = 4 + 2 + 1,
 * the first plane holding the low bits. In a plane of p bits, element j of a run of 32/p elements is in byte
 * j % 4 of the run's word, at bit p * (j / 4). For example
 *
 *     bits 4, block of  8: bytes  e0 | e4<<4,  e1 | e5<<4,  e2 | e6<<4,  e3 | e7<<4
 *     bits 3, block of 32: 8 bytes with the low two bits of 16 elements each word, then 4 bytes of top bits
 *
 * `bits` is a constant everywhere and `j` is one in unrolled loops, where an element is then a byte load
 * (shared by the elements of that byte), a shift and a mask. Bytes, so that alignment and byte order of the
 * core do not matter.
 */
#ifndef EDGEC_UNPACK_H
#define EDGEC_UNPACK_H

#include "edgec_kernel.h"

/* Elements of a block: the smallest run that fills whole words in every plane. */
EDGEC_INLINE uint32_t edgec_block_elements(uint32_t bits) {
    return 32u / (bits & (0u - bits)); /* 32 / the narrowest plane */
}

/* Bytes of a block. */
EDGEC_INLINE uint32_t edgec_block_bytes(uint32_t bits) {
    return edgec_block_elements(bits) * bits / 8u;
}

/* Bytes of a group of `elements` weights, padding included. */
EDGEC_INLINE uint32_t edgec_group_bytes(uint32_t elements, uint32_t bits) {
    const uint32_t block = edgec_block_elements(bits);
    return (elements + block - 1u) / block * edgec_block_bytes(bits);
}

/* Element j of a plane of p bits. */
EDGEC_INLINE uint32_t edgec_plane_element(const uint8_t *plane, uint32_t p, uint32_t j) {
    const uint32_t run = 32u / p;
    const uint32_t byte = plane[j / run * 4u + j % 4u];
    return (byte >> (p * (j % run / 4u))) & ((1u << p) - 1u);
}

/* Element j of a block: an unsigned weight below 2^bits. */
EDGEC_INLINE int32_t edgec_weight(uint32_t bits, const uint8_t *block, uint32_t j) {
    const uint32_t bit_bytes = edgec_block_elements(bits) / 8u; /* what one bit of every element takes */
    uint32_t u = 0;
    uint32_t low = 0; /* bits of the planes before */
    if (bits & 8u) {
        return block[j];
    }
    if (bits & 4u) {
        u = edgec_plane_element(block, 4, j);
        low = 4;
    }
    if (bits & 2u) {
        u |= edgec_plane_element(block + low * bit_bytes, 2, j) << low;
        low += 2;
    }
    if (bits & 1u) {
        u |= edgec_plane_element(block + low * bit_bytes, 1, j) << low;
    }
    return (int32_t)u;
}

#endif
