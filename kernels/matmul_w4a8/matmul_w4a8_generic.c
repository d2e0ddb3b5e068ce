#include "matmul_w4a8.h"

#include "edgec_math.h"
#include "edgec_pairs.h"
#include "edgec_unpack.h"

/* Output channels computed together, so that one load of x serves them all: as many as the registers of a
 * 32-bit core hold together with what the unpacking needs. Where x is prepared for multiplications in pairs,
 * channels come one after the other, and more of them share the preparation. */
#define EDGEC_STRIP_MAX 8u
EDGEC_INLINE uint32_t edgec_strip(uint32_t bits) {
    return bits <= EDGEC_PAIRS_BITS ? EDGEC_STRIP_MAX : bits == 8 ? 4u : 2u;
}

/* Adds u * x of one lane of a block to acc [rows]: the elements 4 apart, which share bytes of packed data, so
 * that each byte is loaded once. w, x: the lane's first byte and element. */
EDGEC_INLINE void edgec_matmul_lane(uint32_t bits, uint32_t rows, const uint8_t *w, uint32_t row_bytes,
                                    const int8_t *x, int32_t *acc) {
    EDGEC_UNROLL_8
    for (uint32_t j = 0; j < edgec_block_elements(bits); j += 4u) {
        EDGEC_UNROLL_4
        for (uint32_t r = 0; r < rows; r++) {
            acc[r] += edgec_weight(bits, w + r * row_bytes, j) * x[j];
        }
    }
}

/* Adds sum(u * x) over `elements` of one run to acc [rows]. w: the block of the first channel. */
EDGEC_INLINE void edgec_matmul_run(uint32_t bits, uint32_t rows, const uint8_t *w, uint32_t row_bytes,
                                   uint32_t first, uint32_t elements, const int8_t *x, int32_t *acc) {
    int32_t pairs[EDGEC_RUN / 2u];
    edgec_input_pairs(x, pairs);
    EDGEC_UNROLL_1
    for (uint32_t r = 0; r < rows; r++) {
        acc[r] += edgec_run_dot(bits, w, first, elements, pairs);
        w += row_bytes;
    }
}

/* Adds sum(u * x) over one group to acc [rows], two products at a time. */
EDGEC_INLINE void edgec_matmul_runs(uint32_t bits, uint32_t rows, const uint8_t *w, uint32_t row_bytes,
                                    const int8_t *x, uint32_t count, int32_t *acc) {
    const uint32_t block = edgec_block_elements(bits);
    const uint32_t step = block < EDGEC_RUN ? EDGEC_RUN : block; /* elements: whole blocks and whole runs */
    EDGEC_UNROLL_1
    for (; count >= step; count -= step) {
        for (uint32_t first = 0; first < step; first += EDGEC_RUN) {
            edgec_matmul_run(bits, rows, w, row_bytes, first, EDGEC_RUN, x + first, acc);
        }
        w += step / block * edgec_block_bytes(bits);
        x += step;
    }
    /* What is left: weights are padded to whole blocks, x is padded here, as behind it nothing may be readable. */
    for (uint32_t first = 0; first < count; first += EDGEC_RUN) {
        int8_t padded[EDGEC_RUN] = {0};
        for (uint32_t j = 0; j < EDGEC_RUN && first + j < count; j++) {
            padded[j] = x[first + j];
        }
        if (block < EDGEC_RUN && count <= block) {
            edgec_matmul_run(bits, rows, w, row_bytes, first, EDGEC_RUN / 2u, padded, acc);
        } else {
            edgec_matmul_run(bits, rows, w, row_bytes, first, EDGEC_RUN, padded, acc);
        }
    }
}

/* Adds sum(u * x) over one group to acc [rows]. w: the group of the first channel, the next channels' are
 * row_bytes apart; x: [count]. */
EDGEC_INLINE void edgec_matmul_group(uint32_t bits, uint32_t rows, const uint8_t *w, uint32_t row_bytes,
                                     const int8_t *x, uint32_t count, int32_t *acc) {
    const uint32_t block = edgec_block_elements(bits);
    if (bits <= EDGEC_PAIRS_BITS) {
        edgec_matmul_runs(bits, rows, w, row_bytes, x, count, acc);
        return;
    }
    for (; count >= block; count -= block) {
        if (block <= 8u) {
            EDGEC_UNROLL_4
            for (uint32_t lane = 0; lane < 4; lane++) {
                edgec_matmul_lane(bits, rows, w + lane, row_bytes, x + lane, acc);
            }
        } else { /* more would not stay in registers */
            EDGEC_UNROLL_1
            for (uint32_t lane = 0; lane < 4; lane++) {
                edgec_matmul_lane(bits, rows, w + lane, row_bytes, x + lane, acc);
            }
        }
        w += edgec_block_bytes(bits);
        x += block;
    }
    /* What is left of a short block, one by one: behind x nothing may be readable. */
    EDGEC_UNROLL_1
    for (uint32_t j = 0; j < count; j++) {
        EDGEC_UNROLL_4
        for (uint32_t r = 0; r < rows; r++) {
            acc[r] += edgec_weight(bits, w + r * row_bytes, j) * x[j];
        }
    }
}

/* sum and, with minima, what lies between zero and the middle code of channel n. Behind the sums, so that weights
 * without minima pay next to nothing. */
static float edgec_matmul_minima(uint32_t bits, const edgec_matmul_w4a8_args *a, uint32_t groups,
                                 const int32_t *x_sums, const float *x_scale, uint32_t n, float sum) {
    const uint16_t *scale = a->w_scale + (size_t)n * groups; /* [groups] */
    const uint16_t *minima = a->w_min + (size_t)n * groups;  /* [groups] */
    for (uint32_t g = 0; g < groups; g++) {
        const float middle =
            (float)(1 << (bits - 1u)) * edgec_f16_to_f32(scale[g]) + edgec_f16_to_f32(minima[g]);
        sum += (float)x_sums[g] * (middle * x_scale[g]);
    }
    return sum;
}

/* y[row][n .. n + rows - 1] */
EDGEC_INLINE void edgec_matmul_strip(uint32_t bits, uint32_t rows, const edgec_matmul_w4a8_args *a,
                                     uint32_t row, uint32_t n, uint32_t groups, uint32_t row_bytes) {
    const uint32_t group_bytes = edgec_group_bytes(a->group_size, bits);
    const int8_t *x = a->x + (size_t)row * a->k;                              /* [k] */
    const int32_t *x_sums = a->x_sums + (size_t)row * groups;                 /* [groups] */
    const float *x_scale = a->x_scale + (size_t)row * groups;                 /* [groups] */
    const uint16_t *w_scale = a->w_scale + (size_t)n * groups;                /* [rows][groups] */
    const uint8_t *w = a->w + (size_t)n * row_bytes;                          /* [rows][row_bytes] */
    const uint8_t *zeros = a->w_zero ? a->w_zero + (size_t)n * groups : NULL; /* [rows][groups] */
    /* -0 + p is p for every p; +0 would lose the sign of a first product of -0. */
    float sum[EDGEC_STRIP_MAX] = {-0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f};
    uint32_t left = a->k;
    for (uint32_t g = 0; g < groups; g++) {
        const uint32_t count = left < a->group_size ? left : a->group_size;
        int32_t acc[EDGEC_STRIP_MAX] = {0};
        edgec_matmul_group(bits, rows, w, row_bytes, x, count, acc);
        const int32_t middle = x_sums[g] * (1 << (bits - 1u));
        EDGEC_UNROLL_4
        for (uint32_t r = 0; r < rows; r++) {
            const int32_t offset = zeros ? zeros[r * groups + g] * x_sums[g] : middle;
            const float scale = edgec_f16_to_f32(w_scale[r * groups + g]) * x_scale[g];
            sum[r] += (float)(acc[r] - offset) * scale;
        }
        w += group_bytes;
        x += count;
        left -= count;
    }
    float *y = a->y + (size_t)row * a->ldy + n;                                    /* [rows] */
    const float *addend = a->addend ? a->addend + (size_t)row * a->ldy + n : NULL; /* [rows] */
    EDGEC_UNROLL_4
    for (uint32_t r = 0; r < rows; r++) {
        float value = a->bias ? sum[r] + a->bias[n + r] : sum[r];
        if (a->w_min) {
            value =
                edgec_matmul_minima(bits, a, groups, a->x_sums + (size_t)row * groups, x_scale, n + r, value);
        }
        y[r] = addend ? addend[r] + value : value;
    }
}

EDGEC_INLINE void edgec_matmul_any(uint32_t bits, const edgec_matmul_w4a8_args *a, uint32_t core,
                                   uint32_t n_cores) {
    const uint32_t strip = edgec_strip(bits);
    const uint32_t groups = (a->k + a->group_size - 1u) / a->group_size;
    const uint32_t row_bytes = (groups - 1u) * edgec_group_bytes(a->group_size, bits) +
                               edgec_group_bytes(a->k - (groups - 1u) * a->group_size, bits);
    const edgec_range mine = edgec_split(a->n, core, n_cores);
    for (uint32_t row = 0; row < a->m; row++) {
        uint32_t n = mine.begin;
        for (; n + strip <= mine.end; n += strip) {
            edgec_matmul_strip(bits, strip, a, row, n, groups, row_bytes);
        }
        if (bits <= EDGEC_PAIRS_BITS) { /* channels are not unrolled: any number will do */
            if (n < mine.end) {
                edgec_matmul_strip(bits, mine.end - n, a, row, n, groups, row_bytes);
            }
        } else {
            for (; n < mine.end; n++) {
                edgec_matmul_strip(bits, 1, a, row, n, groups, row_bytes);
            }
        }
    }
}

#define EDGEC_MATMUL(bits)                                                                                   \
    void edgec_matmul_w##bits##a8(const edgec_matmul_w##bits##a8_args *a, uint32_t core, uint32_t n_cores) { \
        edgec_matmul_any(bits, a, core, n_cores);                                                            \
    }

EDGEC_MATMUL(2)
EDGEC_MATMUL(3)
EDGEC_MATMUL(4)
EDGEC_MATMUL(5)
EDGEC_MATMUL(6)
EDGEC_MATMUL(7)
EDGEC_MATMUL(8)
