/* The kernels of matmul_w4a8_nm.h for cores with XpulpV2.
 *
 * Four kept codes make one word of bytes, and so do the four inputs that they belong to, gathered from x: one dot product
 * multiplies them, another one adds the inputs up for the zero point. Inputs are gathered in one of two ways.
 *
 *     1:2 2:4 3:4 4:8 6:8     bytes of two words of x by a byte shuffle, whose selector is made of the places
 *     8:16 12:16              byte by byte, as a window is longer than what a shuffle sees
 *
 * Bitmasks are searched for their set bits by instructions. Rows of x share codes and selectors.
 */
#include "matmul_w4a8_nm.h"
#include "matmul_w4a8_nm_patterns.h"

#include "edgec_math.h"
#include "edgec_xpulpv2.h"

#define EDGEC_NM_UNIT 8u /* kept codes whose places lie together */
#define EDGEC_NM_ROWS 4u /* rows of x for which codes and places are found once */

/* Bits that tell an input within a window of 2, 4, 8 or 16. */
EDGEC_INLINE uint32_t edgec_nm_index_bits(uint32_t of) {
    return of == 2u ? 1u : of == 4u ? 2u : of == 8u ? 3u : 4u;
}

/* Whether places are indices; else they are a bitmask. */
EDGEC_INLINE uint32_t edgec_nm_indexed(uint32_t kept, uint32_t of) {
    return kept * edgec_nm_index_bits(of) <= of;
}

/* Bytes of the places of a unit. */
EDGEC_INLINE uint32_t edgec_nm_unit_bytes(uint32_t kept, uint32_t of) {
    return (edgec_nm_indexed(kept, of) ? kept * edgec_nm_index_bits(of) : of) / kept * EDGEC_NM_UNIT / 8u;
}

/* The 8 codes of a unit, a byte each in two words. */
EDGEC_INLINE void edgec_nm_codes(uint32_t bits, const uint8_t *w, uint32_t *u) {
    const uint32_t first = bits & 4u ? 4u : 0u; /* bytes before the plane of two bits */
    u[0] = u[1] = 0;
    if (bits & 8u) {
        u[0] = edgec_load_word(w);
        u[1] = edgec_load_word(w + 4);
    }
    if (bits & 4u) { /* code j in byte j % 4 */
        const uint32_t eight = edgec_load_word(w);
        u[0] = edgec_and_b(eight, 15);
        u[1] = edgec_shift_right_b(eight, 4);
    }
    if (bits & 2u) { /* in byte j % 2, at bit 2 * (j / 2) */
        const uint32_t half = edgec_load_half(w + first), twice = edgec_pack_h(half, half);
        u[0] |= edgec_and_b(edgec_srl_b(twice, 0x02020000u), 3) << first;
        u[1] |= edgec_and_b(edgec_srl_b(twice, 0x06060404u), 3) << first;
    }
    if (bits & 1u) { /* at bit j */
        const uint32_t low = bits & 6u, byte = edgec_repeat_b(w[low]);
        u[0] |= edgec_and_b(edgec_srl_b(byte, 0x03020100u), 1) << low;
        u[1] |= edgec_and_b(edgec_srl_b(byte, 0x07060504u), 1) << low;
    }
}

/* Where the 8 codes of a unit belong: selectors of codes 0 .. 3 and 4 .. 7, or eight places in a window. A selector's
 * bytes tell with their low 3 bits a byte of two words of x. */
EDGEC_INLINE void edgec_nm_places(uint32_t kept, uint32_t of, const uint8_t *pos, uint32_t *place) {
    if (of == 2u) {
        place[0] = edgec_and_b(edgec_srl_b(edgec_repeat_b(pos[0]), 0x03020100u), 1) | 0x06040200u;
        place[1] = edgec_and_b(edgec_srl_b(edgec_repeat_b(pos[0]), 0x07060504u), 1) | 0x06040200u;
    } else if (of == 4u) {
        const uint32_t window = kept == 2u ? 0x04040000u : 0x04000400u; /* whose second word a code's is */
        place[0] = edgec_and_b(edgec_srl_b(edgec_repeat_b(pos[0]), 0x06040200u), 3) | window;
        place[1] = edgec_and_b(edgec_srl_b(edgec_repeat_b(pos[1]), 0x06040200u), 3) | window;
    } else if (of == 8u && kept == 2u) { /* 3 bits each: i0 and i2 in place, i1 and i3 from 5 bits below */
        for (uint32_t i = 0; i < 2u; i++) {
            const uint32_t four = edgec_load_half(pos + i) >> (4u * i);
            const uint32_t halves = edgec_pack_h(four >> 6, four);
            place[i] = edgec_shuffle2_b(halves, halves << 5, 0x07020500u);
        }
    } else if (of == 8u) { /* the place of no bit is 32, which selects what 0 does */
        for (uint32_t i = 0; i < 2u; i++) {
            uint32_t bit[4], mask = pos[i];
            EDGEC_UNROLL_4
            for (uint32_t j = 0; j < 4u; j++) {
                bit[j] = edgec_p_ff1(mask);
                mask = edgec_p_bclr(mask, bit[j]);
            }
            place[i] = edgec_packhi_b(edgec_packlo_b(0, bit[1], bit[0]), bit[3], bit[2]);
        }
    } else if (kept == 4u) {
        const uint32_t eight = edgec_load_word(pos);
        EDGEC_UNROLL_8
        for (uint32_t j = 0; j < EDGEC_NM_UNIT; j++) {
            place[j] = edgec_p_extractu(eight, 4, 4u * j);
        }
    } else {
        uint32_t mask = edgec_load_half(pos);
        EDGEC_UNROLL_8
        for (uint32_t j = 0; j < EDGEC_NM_UNIT; j++) {
            place[j] = edgec_p_ff1(mask);
            mask = edgec_p_bclr(mask, place[j]);
        }
    }
}

/* The inputs of codes 4i .. 4i + 3, a byte each. x: the unit's first input. */
EDGEC_INLINE uint32_t edgec_nm_inputs(uint32_t kept, uint32_t of, const uint32_t *place, uint32_t i,
                                      const int8_t *x) {
    if (of == 16u) {
        const int8_t *window = kept == 4u ? x + 16u * i : x;
        int32_t v[4];
        EDGEC_UNROLL_4
        for (uint32_t j = 0; j < 4u; j++) {
            v[j] = edgec_load_at(window, place[4u * i + j]);
        }
        return edgec_packhi_b(edgec_packlo_b(0, (uint32_t)v[1], (uint32_t)v[0]), (uint32_t)v[3],
                              (uint32_t)v[2]);
    }
    if (2u * kept == of) { /* 8 inputs */
        const uint32_t x0 = edgec_load_word(x + 8u * i), x1 = edgec_load_word(x + 8u * i + 4u);
        return edgec_shuffle2_b(x0, x1, place[i]);
    }
    const uint32_t x0 = edgec_load_word(x + 16u * i), x1 = edgec_load_word(x + 16u * i + 4u);
    const uint32_t x2 = edgec_load_word(x + 16u * i + 8u), x3 = edgec_load_word(x + 16u * i + 12u);
    return edgec_shuffle2_b(edgec_shuffle2_b(x0, x1, place[i]), edgec_shuffle2_b(x2, x3, place[i]),
                            0x07060100u);
}

/* Where the next unit's codes and places are. */
typedef struct {
    const uint8_t *w;
    const uint8_t *pos;
} edgec_nm_at;

/* Adds u * x of the first `count` codes of a unit to acc, and x to sum. */
EDGEC_APART void edgec_nm_slow(uint32_t bits, uint32_t kept, uint32_t of, edgec_nm_at at, const int8_t *x,
                               uint32_t count, int32_t *acc, int32_t *sum) {
    const uint8_t *w = at.w, *pos = at.pos;
    const uint32_t index_bits = edgec_nm_index_bits(of);
    for (uint32_t j = 0; j < count; j++) {
        uint32_t index = 0;
        if (edgec_nm_indexed(kept, of)) {
            for (uint32_t b = 0; b < index_bits; b++) {
                const uint32_t bit = j * index_bits + b;
                index |= ((uint32_t)pos[bit / 8u] >> (bit % 8u) & 1u) << b;
            }
        } else {
            uint32_t mask = of == 8u ? pos[j / kept] : pos[0] | (uint32_t)pos[1] << 8;
            for (uint32_t b = 0; b < j % kept; b++) {
                mask &= mask - 1u;
            }
            index = mask ? edgec_p_ff1(mask) : of - 8u; /* as the generic kernels' table has it */
        }
        uint32_t u = 0;
        for (uint32_t low = 0, p = 8; p; p /= 2u) { /* planes, the widest one first */
            if (bits & p) {
                u |= ((uint32_t)w[low + j % p] >> (p * (j / p)) & ((1u << p) - 1u)) << low;
                low += p;
            }
        }
        const int32_t value = x[j / kept * of + index];
        *acc += (int32_t)u * value;
        *sum += value;
    }
}

/* The same for rows, one code after the other: for what is left of a group, behind which nothing may be readable, and for
 * bitmasks with too few bits. The sums are copied, so that elsewhere they may stay in registers. */
EDGEC_INLINE void edgec_nm_one_by_one(uint32_t bits, uint32_t kept, uint32_t of, uint32_t rows,
                                      edgec_nm_at at, const int8_t *x, uint32_t k, uint32_t count,
                                      int32_t *acc, int32_t *sums) {
    EDGEC_UNROLL_4
    for (uint32_t r = 0; r < rows; r++) {
        int32_t more = acc[r], more_sum = sums[r];
        edgec_nm_slow(bits, kept, of, at, x + r * k, count, &more, &more_sum);
        acc[r] = more;
        sums[r] = more_sum;
    }
}

/* acc [rows] = sum of (u - zero) * x over one group of `count` kept codes; moves on behind them. x: the group's first
 * input, rows are k apart. */
EDGEC_INLINE edgec_nm_at edgec_nm_group(uint32_t bits, uint32_t kept, uint32_t of, uint32_t rows,
                                        edgec_nm_at at, const int8_t *x, uint32_t k, uint32_t count,
                                        int32_t zero, int32_t *acc) {
    int32_t dots[EDGEC_NM_ROWS], sums[EDGEC_NM_ROWS];
    EDGEC_UNROLL_4
    for (uint32_t r = 0; r < rows; r++) {
        dots[r] = sums[r] = 0;
    }
    EDGEC_UNROLL_1
    for (uint32_t units = count / EDGEC_NM_UNIT; units; units--) {
        uint32_t u[2], place[EDGEC_NM_UNIT];
        if (of == 16u && kept == 8u &&
            edgec_p_cnt(edgec_load_half(at.pos)) < 8u) { /* no such thing is packed */
            edgec_nm_one_by_one(bits, kept, of, rows, at, x, k, EDGEC_NM_UNIT, dots, sums);
        } else {
            edgec_nm_codes(bits, at.w, u);
            edgec_nm_places(kept, of, at.pos, place);
            EDGEC_UNROLL_4
            for (uint32_t i = 0; i < 2u; i++) {
                EDGEC_UNROLL_4
                for (uint32_t r = 0; r < rows; r++) {
                    const uint32_t inputs = edgec_nm_inputs(kept, of, place, i, x + r * k);
                    dots[r] = edgec_sdotusp_b(dots[r], u[i], inputs);
                    sums[r] = edgec_sum_b(sums[r], inputs);
                }
            }
        }
        at.w += bits;
        at.pos += edgec_nm_unit_bytes(kept, of);
        x += EDGEC_NM_UNIT / kept * of;
    }
    if (count % EDGEC_NM_UNIT) {
        edgec_nm_one_by_one(bits, kept, of, rows, at, x, k, count % EDGEC_NM_UNIT, dots, sums);
        at.w += bits;
        at.pos += edgec_nm_unit_bytes(kept, of);
    }
    EDGEC_UNROLL_4
    for (uint32_t r = 0; r < rows; r++) {
        acc[r] = dots[r] - zero * sums[r];
    }
    return at;
}

/* y[row .. row + rows - 1] of this core's channels. `at`: the first one's. */
EDGEC_INLINE void edgec_nm_rows(uint32_t bits, uint32_t kept, uint32_t of, uint32_t rows,
                                const edgec_matmul_w4a8_nm_args *a, uint32_t row, edgec_range mine,
                                uint32_t groups, edgec_nm_at at) {
    uint32_t side = mine.begin * groups; /* the next group's scale */
    EDGEC_UNROLL_1
    for (uint32_t n = mine.begin; n < mine.end; n++) {
        const int8_t *x = a->x + (size_t)row * a->k;              /* [rows][k] */
        const float *x_scale = a->x_scale + (size_t)row * groups; /* [rows][groups] */
        /* -0 + p is p for every p; +0 would lose the sign of a first product of -0. */
        float sum[EDGEC_NM_ROWS] = {-0.0f, -0.0f, -0.0f, -0.0f};
        uint32_t left = a->k;
        EDGEC_UNROLL_1
        while (left) {
            const uint32_t inputs = left < a->group_size ? left : a->group_size;
            const int32_t zero = a->w_zero ? a->w_zero[side] : 1 << (bits - 1u);
            const float scale = edgec_f16_to_f32(a->w_scale[side]);
            int32_t acc[EDGEC_NM_ROWS];
            at = edgec_nm_group(bits, kept, of, rows, at, x, a->k, inputs / of * kept, zero, acc);
            EDGEC_UNROLL_4
            for (uint32_t r = 0; r < rows; r++) {
                sum[r] += (float)acc[r] * (scale * x_scale[r * groups]);
            }
            side++;
            x_scale++;
            x += inputs;
            left -= inputs;
        }
        EDGEC_UNROLL_4
        for (uint32_t r = 0; r < rows; r++) {
            const size_t to = (size_t)(row + r) * a->ldy + n;
            const float value = a->bias ? sum[r] + a->bias[n] : sum[r];
            a->y[to] = a->addend ? a->addend[to] + value : value;
        }
    }
}

EDGEC_INLINE uint32_t edgec_nm_units(uint32_t kept, uint32_t of, uint32_t inputs) {
    return (inputs / of * kept + EDGEC_NM_UNIT - 1u) / EDGEC_NM_UNIT;
}

EDGEC_INLINE void edgec_nm_any(uint32_t bits, uint32_t kept, uint32_t of, const edgec_matmul_w4a8_nm_args *a,
                               uint32_t core, uint32_t n_cores) {
    /* Divisions take 35 cycles: none for one group and the usual number of cores. */
    const uint32_t groups = a->k <= a->group_size ? 1u : (a->k + a->group_size - 1u) / a->group_size;
    const uint32_t units = (groups - 1u) * edgec_nm_units(kept, of, a->group_size) +
                           edgec_nm_units(kept, of, a->k - (groups - 1u) * a->group_size);
    const edgec_range mine = n_cores == 8u ? edgec_split(a->n, core, 8u) : edgec_split(a->n, core, n_cores);
    const edgec_nm_at at = {a->w + (size_t)mine.begin * units * bits,
                            a->w_pos + (size_t)mine.begin * units * edgec_nm_unit_bytes(kept, of)};
    uint32_t row = 0;
    for (; row + EDGEC_NM_ROWS <= a->m; row += EDGEC_NM_ROWS) {
        edgec_nm_rows(bits, kept, of, EDGEC_NM_ROWS, a, row, mine, groups, at);
    }
    for (; row < a->m; row++) {
        edgec_nm_rows(bits, kept, of, 1, a, row, mine, groups, at);
    }
}

EDGEC_NM_PATTERNS(2)
EDGEC_NM_PATTERNS(3)
EDGEC_NM_PATTERNS(4)
EDGEC_NM_PATTERNS(5)
EDGEC_NM_PATTERNS(6)
EDGEC_NM_PATTERNS(7)
EDGEC_NM_PATTERNS(8)
