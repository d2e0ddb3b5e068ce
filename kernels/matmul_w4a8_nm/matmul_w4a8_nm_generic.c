#include "matmul_w4a8_nm.h"
#include "matmul_w4a8_nm_patterns.h"

#include "edgec_math.h"

#define EDGEC_NM_UNIT 8u /* kept codes whose places lie together */
#define EDGEC_NM_ROWS 4u /* rows of x for which a code and its place are found once */

/* Places of the set bits of a byte, four bits each from the lowest: where this core has no instruction that
 * finds a set bit, eight loads and shifts find them all. */
#define BIT(m, b)           (((uint32_t)(m) >> (b)) & 1u)
#define PLACE(m, b, higher) ((higher) << (BIT(m, b) * 4u) | BIT(m, b) * (b))
#define PLACES(m)                                                                                            \
    PLACE(                                                                                                   \
        m, 0u,                                                                                               \
        PLACE(m, 1u, PLACE(m, 2u, PLACE(m, 3u, PLACE(m, 4u, PLACE(m, 5u, PLACE(m, 6u, BIT(m, 7u) * 7u)))))))
#define BITS2(m)                                                                                             \
    (2u * (BIT(m, 0) + BIT(m, 1) + BIT(m, 2) + BIT(m, 3) + BIT(m, 4) + BIT(m, 5) + BIT(m, 6) + BIT(m, 7)))
#define OF_4(of, m)  of(m), of((m) + 1), of((m) + 2), of((m) + 3)
#define OF_16(of, m) OF_4(of, m), OF_4(of, (m) + 4), OF_4(of, (m) + 8), OF_4(of, (m) + 12)
#define OF_64(of, m) OF_16(of, m), OF_16(of, (m) + 16), OF_16(of, (m) + 32), OF_16(of, (m) + 48)
#define OF_256(of)   OF_64(of, 0), OF_64(of, 64), OF_64(of, 128), OF_64(of, 192)

static const uint32_t edgec_nm_places[256] = {OF_256(PLACES)};
static const uint8_t edgec_nm_bits2[256] = {OF_256(BITS2)}; /* twice the number of set bits */

/* Bits that tell an input within a window of 2, 4, 8 or 16. */
EDGEC_INLINE uint32_t edgec_nm_index_bits(uint32_t of) {
    return of == 2u ? 1u : of == 4u ? 2u : of == 8u ? 3u : 4u;
}

/* Bytes of the places of a unit. */
EDGEC_INLINE uint32_t edgec_nm_unit_bytes(uint32_t kept, uint32_t of) {
    const uint32_t indices = kept * edgec_nm_index_bits(of);
    return (indices <= of ? indices : of) / kept * EDGEC_NM_UNIT / 8u;
}

/* Places of the 8 codes of a unit, in inputs from the unit's first. `kept` and `of` are constants. */
EDGEC_INLINE void edgec_nm_places_of_unit(uint32_t kept, uint32_t of, const uint8_t *pos, uint32_t *place) {
    const uint32_t bits = edgec_nm_index_bits(of);
    EDGEC_UNROLL_8
    for (uint32_t j = 0; j < EDGEC_NM_UNIT; j++) {
        uint32_t index;
        if (kept * bits <= of) {
            const uint32_t first = j * bits;
            index = (uint32_t)pos[first / 8u] >> (first % 8u);
            if (first % 8u + bits > 8u) {
                index |= (uint32_t)pos[first / 8u + 1u] << (8u - first % 8u);
            }
            index &= of - 1u;
        } else if (of == 8u) {
            index = edgec_nm_places[pos[j / kept]] >> (j % kept * 4u) & 15u;
        } else {
            /* The high byte's places, 8 further on, go behind those of the low byte. In two shifts, as one by
             * 32 has no meaning. */
            const uint32_t half = edgec_nm_bits2[pos[0]];
            const uint32_t high = edgec_nm_places[pos[1]] | 0x88888888u;
            index = (edgec_nm_places[pos[0]] | high << half << half) >> (j * 4u) & 15u;
        }
        place[j] = j / kept * of + index;
    }
}

/* Code j of a unit: planes of 8, 4, 2 or 1 bits, p bytes each; in a plane, element j in byte j % p, at bit
 * p * (j / p). */
EDGEC_INLINE int32_t edgec_nm_code(uint32_t bits, const uint8_t *w, uint32_t j) {
    uint32_t u = 0;
    uint32_t low = 0; /* bits, and bytes, of the planes before */
    if (bits & 8u) {
        return w[j];
    }
    if (bits & 4u) {
        u = ((uint32_t)w[j % 4u] >> (j / 4u * 4u)) & 15u;
        low = 4;
    }
    if (bits & 2u) {
        u |= (((uint32_t)w[low + j % 2u] >> (j / 2u * 2u)) & 3u) << low;
        low += 2;
    }
    if (bits & 1u) {
        u |= (((uint32_t)w[low] >> j) & 1u) << low;
    }
    return (int32_t)u;
}

/* Adds (u - zero) * x over one group of `count` kept codes to acc [rows]. x: the group's first input, rows
 * are k apart. A code and its place are found once for all rows. */
EDGEC_INLINE void edgec_nm_group(uint32_t bits, uint32_t kept, uint32_t of, uint32_t rows, const uint8_t *w,
                                 const uint8_t *pos, const int8_t *x, uint32_t k, uint32_t count,
                                 int32_t zero, int32_t *acc) {
    EDGEC_UNROLL_1
    for (; count >= EDGEC_NM_UNIT; count -= EDGEC_NM_UNIT) {
        uint32_t place[EDGEC_NM_UNIT];
        edgec_nm_places_of_unit(kept, of, pos, place);
        EDGEC_UNROLL_8
        for (uint32_t j = 0; j < EDGEC_NM_UNIT; j++) {
            const int32_t u = edgec_nm_code(bits, w, j) - zero;
            EDGEC_UNROLL_4
            for (uint32_t r = 0; r < rows; r++) {
                acc[r] += u * x[r * k + place[j]];
            }
        }
        w += bits;
        pos += edgec_nm_unit_bytes(kept, of);
        x += EDGEC_NM_UNIT / kept * of;
    }
    if (count) {                       /* behind x nothing may be readable */
        uint32_t place[EDGEC_NM_UNIT]; /* not the loop's, which stays in registers */
        edgec_nm_places_of_unit(kept, of, pos, place);
        EDGEC_UNROLL_1
        for (uint32_t j = 0; j < count; j++) {
            const int32_t u = edgec_nm_code(bits, w, j) - zero;
            EDGEC_UNROLL_1
            for (uint32_t r = 0; r < rows; r++) {
                acc[r] += u * x[r * k + place[j]];
            }
        }
    }
}

/* y[row .. row + rows - 1][n] */
EDGEC_INLINE void edgec_nm_strip(uint32_t bits, uint32_t kept, uint32_t of, uint32_t rows,
                                 const edgec_matmul_w4a8_nm_args *a, uint32_t row, uint32_t n,
                                 uint32_t groups, const uint8_t *w, const uint8_t *pos) {
    const int8_t *x = a->x + (size_t)row * a->k;                              /* [rows][k] */
    const float *x_scale = a->x_scale + (size_t)row * groups;                 /* [rows][groups] */
    const uint16_t *w_scale = a->w_scale + (size_t)n * groups;                /* [groups] */
    const uint8_t *zeros = a->w_zero ? a->w_zero + (size_t)n * groups : NULL; /* [groups] */
    /* -0 + p is p for every p; +0 would lose the sign of a first product of -0. */
    float sum[EDGEC_NM_ROWS] = {-0.0f, -0.0f, -0.0f, -0.0f};
    uint32_t left = a->k;
    for (uint32_t g = 0; g < groups; g++) {
        const uint32_t inputs = left < a->group_size ? left : a->group_size;
        const uint32_t count = inputs / of * kept;
        const int32_t zero = zeros ? zeros[g] : 1 << (bits - 1u);
        const float scale = edgec_f16_to_f32(w_scale[g]);
        int32_t acc[EDGEC_NM_ROWS] = {0};
        edgec_nm_group(bits, kept, of, rows, w, pos, x, a->k, count, zero, acc);
        EDGEC_UNROLL_4
        for (uint32_t r = 0; r < rows; r++) {
            sum[r] += (float)acc[r] * (scale * x_scale[r * groups + g]);
        }
        const uint32_t units = (count + EDGEC_NM_UNIT - 1u) / EDGEC_NM_UNIT;
        w += units * bits;
        pos += units * edgec_nm_unit_bytes(kept, of);
        x += inputs;
        left -= inputs;
    }
    EDGEC_UNROLL_4
    for (uint32_t r = 0; r < rows; r++) {
        const size_t at = (size_t)(row + r) * a->ldy + n;
        const float value = a->bias ? sum[r] + a->bias[n] : sum[r];
        a->y[at] = a->addend ? a->addend[at] + value : value;
    }
}

EDGEC_INLINE void edgec_nm_any(uint32_t bits, uint32_t kept, uint32_t of, const edgec_matmul_w4a8_nm_args *a,
                               uint32_t core, uint32_t n_cores) {
    const uint32_t groups = (a->k + a->group_size - 1u) / a->group_size;
    const uint32_t whole = a->group_size / of * kept;
    const uint32_t last = (a->k - (groups - 1u) * a->group_size) / of * kept;
    const uint32_t units = (groups - 1u) * ((whole + EDGEC_NM_UNIT - 1u) / EDGEC_NM_UNIT) +
                           (last + EDGEC_NM_UNIT - 1u) / EDGEC_NM_UNIT;
    const edgec_range mine = edgec_split(a->n, core, n_cores);
    for (uint32_t n = mine.begin; n < mine.end; n++) {
        const uint8_t *w = a->w + (size_t)n * units * bits;
        const uint8_t *pos = a->w_pos + (size_t)n * units * edgec_nm_unit_bytes(kept, of);
        uint32_t row = 0;
        for (; row + EDGEC_NM_ROWS <= a->m; row += EDGEC_NM_ROWS) {
            edgec_nm_strip(bits, kept, of, EDGEC_NM_ROWS, a, row, n, groups, w, pos);
        }
        for (; row < a->m; row++) {
            edgec_nm_strip(bits, kept, of, 1, a, row, n, groups, w, pos);
        }
    }
}

EDGEC_NM_PATTERNS(2)
EDGEC_NM_PATTERNS(3)
EDGEC_NM_PATTERNS(4)
EDGEC_NM_PATTERNS(5)
EDGEC_NM_PATTERNS(6)
EDGEC_NM_PATTERNS(7)
EDGEC_NM_PATTERNS(8)
