#include "embed.h"

#include "edgec_math.h"
#include "edgec_unpack.h"

/* One group of `count` weights of a constant width. w: packed; y: [count]. */
EDGEC_INLINE void edgec_embed_group(uint32_t bits, const uint8_t *w, float *y, uint32_t count, int32_t zero,
                                    float scale) {
    const uint32_t block = edgec_block_elements(bits);
    while (count > 0) {
        const uint32_t n = count < block ? count : block;
        /* Not unrolled: all widths are in the program, and only a row per token goes through here. */
        EDGEC_UNROLL_1
        for (uint32_t j = 0; j < n; j++) {
            y[j] = (float)(edgec_weight(bits, w, j) - zero) * scale;
        }
        w += edgec_block_bytes(bits);
        y += n;
        count -= n;
    }
}

EDGEC_INLINE void edgec_embed_any(uint32_t bits, const edgec_embed_args *a, uint32_t core, uint32_t n_cores) {
    const uint32_t groups = (a->k + a->group_size - 1u) / a->group_size;
    const uint32_t group_bytes = edgec_group_bytes(a->group_size, bits);
    const uint32_t short_bytes = edgec_group_bytes(a->k - (groups - 1u) * a->group_size, bits);
    const uint32_t row_bytes = (groups - 1u) * group_bytes + short_bytes;
    const uint32_t block = edgec_block_elements(bits);
    /* Where groups do not fill the cores, as in a token's single row, each group is cut into pieces of whole blocks. */
    const uint32_t pieces = a->m * groups < n_cores ? n_cores : 1u;
    const edgec_range mine = edgec_split(a->m * groups * pieces, core, n_cores);
    uint32_t unit = mine.begin / pieces; /* a group of a row */
    uint32_t piece = mine.begin - unit * pieces;
    uint32_t row = unit / groups;
    uint32_t g = unit - row * groups;
    for (uint32_t left = mine.end - mine.begin; left > 0; left--) {
        uint32_t first = g * a->group_size; /* in the row */
        uint32_t count = a->k - first < a->group_size ? a->k - first : a->group_size;
        const uint8_t *w = a->w + (size_t)row * row_bytes + (size_t)g * group_bytes;
        if (pieces > 1u) {
            const edgec_range mine_of = edgec_split((count + block - 1u) / block, piece, pieces);
            const uint32_t begin = mine_of.begin * block, end = mine_of.end * block;
            w += mine_of.begin * edgec_block_bytes(bits);
            first += begin;
            count = begin == end ? 0u : (end < count ? end : count) - begin;
        }
        const int32_t zero = a->w_min ? 0 : a->w_zero ? a->w_zero[unit] : 1 << (bits - 1u);
        float *y = a->y + (size_t)row * a->k + first; /* [count] */
        edgec_embed_group(bits, w, y, count, zero, edgec_f16_to_f32(a->w_scale[unit]));
        if (a->w_min) {
            const float minimum = edgec_f16_to_f32(a->w_min[unit]);
            EDGEC_UNROLL_1
            for (uint32_t j = 0; j < count; j++) {
                y[j] += minimum;
            }
        }
        if (edgec_bits(a->factor) != edgec_bits(1.0f)) {
            EDGEC_UNROLL_1
            for (uint32_t j = 0; j < count; j++) {
                y[j] *= a->factor;
            }
        }
        if (++piece == pieces) {
            piece = 0;
            unit++;
            if (++g == groups) {
                g = 0;
                row++;
            }
        }
    }
}

void edgec_embed(const edgec_embed_args *a, uint32_t core, uint32_t n_cores) {
    switch (a->bits) {
    case 2:
        edgec_embed_any(2, a, core, n_cores);
        break;
    case 3:
        edgec_embed_any(3, a, core, n_cores);
        break;
    case 4:
        edgec_embed_any(4, a, core, n_cores);
        break;
    case 5:
        edgec_embed_any(5, a, core, n_cores);
        break;
    case 6:
        edgec_embed_any(6, a, core, n_cores);
        break;
    case 7:
        edgec_embed_any(7, a, core, n_cores);
        break;
    default:
        edgec_embed_any(8, a, core, n_cores);
        break;
    }
}
