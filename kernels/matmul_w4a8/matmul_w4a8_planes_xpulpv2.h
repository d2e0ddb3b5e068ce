/* Dot products of int8 rows with weights of 2, 3, 5, 6 and 7 bits on XpulpV2.
 *
 * Such a width is a sum of planes (edgec_unpack.h). In every plane the elements 4i .. 4i + 3 of a block are the four
 * bytes of one word, at one bit: a shift of bytes and a mask put a plane's part of four weights where it belongs, and
 * the parts of all planes together are the bytes of one dot product. Instructions for 4 products of one row, as
 * compiled for strips that leave the loop in a core's 512 B of instruction cache:
 *
 *     bits         2     3     5     6     7
 *     channels     4     1     2     2     1
 *                  3.4   7.3   6.6   6.6   10
 */
#ifndef EDGEC_MATMUL_W4A8_PLANES_XPULPV2_H
#define EDGEC_MATMUL_W4A8_PLANES_XPULPV2_H

#include "matmul_w4a8_dots_xpulpv2.h"

/* Bits pos .. pos + p - 1 of the bytes of a word, at bit `low`. All but the word are constants. */
EDGEC_INLINE uint32_t edgec_plane_part(uint32_t word, uint32_t p, uint32_t pos, uint32_t low) {
    const uint32_t mask = ((1u << p) - 1u) << low;
    if (pos > low) {
        word = edgec_shift_right_b(word, pos - low);
    } else if (pos < low) {
        word = edgec_shift_left_b(word, low - pos);
    }
    if ((low == 0 && pos + p == 8u) || (pos == 0 && low + p == 8u)) {
        return word; /* the shift has left nothing else */
    }
    return mask <= 31u ? edgec_and_b(word, mask) : word & mask * 0x01010101u;
}

/* Elements 4i .. 4i + 3 of a block, whose words are at hand. */
EDGEC_INLINE uint32_t edgec_block_word(uint32_t bits, const uint32_t *words, uint32_t i) {
    const uint32_t elements = edgec_block_elements(bits);
    const uint32_t *twos = words + (bits & 4u) * elements / 32u; /* the planes of two bits, and of one */
    const uint32_t *ones = twos + (bits & 2u) * elements / 32u;
    uint32_t u = 0;
    if (bits & 4u) {
        u = edgec_plane_part(words[i / 2u], 4, i % 2u * 4u, 0);
    }
    if (bits & 2u) {
        u |= edgec_plane_part(twos[i / 4u], 2, i % 4u * 2u, bits & 4u);
    }
    if (bits & 1u) {
        u |= edgec_plane_part(*ones, 1, i, bits & 6u);
    }
    return u;
}

/* acc [rows][channels] = d->init [rows] + the sums over d's blocks from w on, the first channel's. Rows of acc are
 * EDGEC_ACC_ROW apart. rows, channels: 1 or 2, 1 to 4. */
EDGEC_INLINE void edgec_dots_planes(uint32_t bits, uint32_t rows, uint32_t channels, const uint8_t *w,
                                    const edgec_dots *dots, int32_t *acc) {
    const uint32_t block = edgec_block_elements(bits);
    edgec_dots d = *dots;
    int32_t sum[8];
    EDGEC_UNROLL_8
    for (uint32_t i = 0; i < rows * channels; i++) {
        sum[i] = d.init[i / channels];
    }
    for (;;) {
        EDGEC_UNROLL_1
        for (; d.blocks; d.blocks--) {
            uint32_t words[4][7];
            EDGEC_UNROLL_4
            for (uint32_t c = 0; c < channels; c++) {
                EDGEC_UNROLL_8
                for (uint32_t i = 0; i < block * bits / 32u; i++) {
                    words[c][i] = edgec_load_word(w + c * d.step + 4u * i);
                }
            }
            EDGEC_UNROLL_8
            for (uint32_t i = 0; i < block / 4u; i++) {
                uint32_t x[2];
                EDGEC_UNROLL_4
                for (uint32_t r = 0; r < rows; r++) {
                    x[r] = edgec_load_word(d.x + r * d.k + 4u * i);
                }
                EDGEC_UNROLL_4
                for (uint32_t c = 0; c < channels; c++) {
                    const uint32_t u = edgec_block_word(bits, words[c], i);
                    EDGEC_UNROLL_4
                    for (uint32_t r = 0; r < rows; r++) {
                        sum[r * channels + c] = edgec_sdotusp_b(sum[r * channels + c], u, x[r]);
                    }
                }
            }
            w += edgec_block_bytes(bits);
            d.x += block;
        }
        if (!d.pad) {
            break;
        }
        d.x = (const int8_t *)d.pad;
        d.k = block;
        d.blocks = 1;
        d.pad = NULL;
    }
    EDGEC_UNROLL_8
    for (uint32_t i = 0; i < rows * channels; i++) {
        acc[i / channels * EDGEC_ACC_ROW + i % channels] = sum[i];
    }
}

#endif
