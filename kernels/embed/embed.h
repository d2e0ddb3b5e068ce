/* embed: packed rows of an embedding table, already gathered, dequantised to float32.
 *
 *     y = float32(u - zero) * w_scale,   zero = 2^(bits-1) where w_zero is NULL
 *     y = float32(u) * w_scale + w_min   where there is w_min, which excludes w_zero
 *
 * times `factor`, last of all.
 *
 * Packing: common/edgec_unpack.h; rows are 4-byte aligned. groups = ceil(k / group_size), the last may be
 * shorter; row_bytes is the sum of its groups' bytes. Units: groups of all rows.
 */
#ifndef EDGEC_EMBED_H
#define EDGEC_EMBED_H

#include "edgec_kernel.h"

typedef struct {
    const uint8_t *w;        /* [m][row_bytes], 2 to 8 bits packed */
    const uint16_t *w_scale; /* [m][groups], binary16 */
    const uint8_t *w_zero;   /* [m][groups], or NULL */
    const uint16_t *w_min;   /* [m][groups], binary16, or NULL */
    float *y;                /* [m][k] */
    uint32_t m;
    uint32_t k;
    uint32_t bits;
    uint32_t group_size;
    float factor;
} edgec_embed_args;

void edgec_embed(const edgec_embed_args *a, uint32_t core, uint32_t n_cores);

#endif
