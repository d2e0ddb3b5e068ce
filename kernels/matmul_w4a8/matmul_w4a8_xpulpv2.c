/* The kernels of matmul_w4a8.h for cores with XpulpV2.
 *
 * One walk over rows, channels and groups serves all widths: strips of channels by one row of x, or by two, and what
 * strips leave. A group's integer sums of a chunk of channels go through a small buffer, so that the loops over blocks
 * and over channels (matmul_w4a8_dots_xpulpv2.h, matmul_w4a8_sums_xpulpv2.h) are tight, and what lies around them is
 * done once a chunk.
 */
#include "matmul_w4a8.h"

#include "edgec_unpack.h"
#include "matmul_w4a8_dots_xpulpv2.h"
#include "matmul_w4a8_planes_xpulpv2.h"
#include "matmul_w4a8_strips_xpulpv2.h"
#include "matmul_w4a8_sums_xpulpv2.h"

/* Sums on a small stack: of a chunk of EDGEC_CHUNK channels and one row, or half of them and two rows. */
#define EDGEC_CHUNK (2u * EDGEC_ACC_ROW)

/* Inputs of a group: whole blocks, and elements behind them. */
typedef struct {
    uint32_t blocks;
    uint32_t left;
} edgec_matmul_part;

/* What strips of a call have in common. */
typedef struct {
    const edgec_matmul_w4a8_args *a;
    uint32_t groups;
    uint32_t row_bytes;
    uint32_t group_bytes;    /* of whole groups */
    edgec_matmul_part whole; /* groups but the last */
    edgec_matmul_part last;
    uint32_t begin; /* this core's channels */
    uint32_t end;
    uint32_t strips; /* whether strips take all groups at once */
} edgec_matmul_call;

/* pad [rows], a block each: the last `left` inputs of each row and zeros, as behind x nothing may be readable. */
EDGEC_APART void edgec_matmul_pad(uint32_t rows, uint32_t block, uint32_t left, const int8_t *x, uint32_t k,
                                  int8_t *pad) {
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t i = 0; i < block; i++) {
            *pad++ = i < left ? x[i] : 0;
        }
        x += k;
    }
}

/* acc [rows][channels] = d->init [rows] + sums over d's blocks from w on. */
EDGEC_INLINE void edgec_matmul_dots(uint32_t bits, uint32_t rows, uint32_t channels, const uint8_t *w,
                                    edgec_dots *d, int32_t *acc) {
    if (bits == 4u) {
        edgec_dots_w4(rows, channels, w, d, acc);
    } else if (bits == 8u) {
        edgec_dots_w8(rows, channels, w, d, acc);
    } else {
        edgec_dots_planes(bits, rows, channels, w, d, acc);
    }
}

/* The numbers of a call. */
EDGEC_INLINE void edgec_matmul_begin(uint32_t bits, const edgec_matmul_w4a8_args *a, uint32_t core,
                                     uint32_t n_cores, edgec_matmul_call *call) {
    const uint32_t block = edgec_block_elements(bits);
    /* Divisions take 35 cycles: none for one group and the usual number of cores. */
    const uint32_t groups = a->k <= a->group_size ? 1u : (a->k + a->group_size - 1u) / a->group_size;
    const uint32_t last = a->k - (groups - 1u) * a->group_size;
    const edgec_range mine = n_cores == 8u ? edgec_split(a->n, core, 8u) : edgec_split(a->n, core, n_cores);
    call->a = a;
    call->groups = groups;
    call->group_bytes = edgec_group_bytes(a->group_size, bits);
    call->row_bytes = (groups - 1u) * call->group_bytes + edgec_group_bytes(last, bits);
    call->whole.blocks = a->group_size / block;
    call->whole.left = a->group_size % block;
    call->last.blocks = last / block;
    call->last.left = last % block;
    call->begin = mine.begin;
    call->end = mine.end;
    call->strips = (bits == 4u || bits == 8u) && !call->last.left &&
                   (groups == 1u || last == a->group_size) && mine.end - mine.begin >= 8u &&
                   edgec_strips_serve(a->w_zero, a->x_scale, a->m * groups);
}

/* Channels whose sums are in the buffer at a time. With an addend, which y may be, groups add up in its other half. */
EDGEC_INLINE uint32_t edgec_matmul_chunk(const edgec_matmul_w4a8_args *a, uint32_t rows) {
    return (a->addend ? EDGEC_CHUNK / 2u : EDGEC_CHUNK) / rows;
}

/* Channels that strips do not cover: those of a last strip that is short. If it is short by less than half, it begins
 * earlier instead, which takes a whole strip of channels in its chunk. */
EDGEC_INLINE uint32_t edgec_matmul_rest(const edgec_matmul_call *call, uint32_t rows, uint32_t strip) {
    const uint32_t count = call->end - call->begin, rest = count % strip;
    if (2u * rest <= strip) {
        return rest;
    }
    const uint32_t last = count & (edgec_matmul_chunk(call->a, rows) - 1u); /* channels of the last chunk */
    return last > strip ? 0u : rest;
}

/* y[row ..][begin .. end - 1], `rows` rows at a time as long as there are so many, in strips of `strip` channels. */
EDGEC_INLINE void edgec_matmul_rows(uint32_t bits, uint32_t rows, uint32_t strip,
                                    const edgec_matmul_call *call, uint32_t row, uint32_t begin, uint32_t end,
                                    uint32_t *pad) {
    const uint32_t block = edgec_block_elements(bits);
    const uint32_t fours = strip == 1u && (bits == 8u || (bits == 4u && rows == 1u)); /* behind eights */
    uint32_t n = begin;
    EDGEC_UNROLL_1
    do {
        const edgec_matmul_w4a8_args *a = call->a;
        union {
            int32_t acc[EDGEC_CHUNK];
            float sums[EDGEC_CHUNK];
        } buffer;
        edgec_dots d;
        d.step = call->row_bytes;
        d.k = a->k;
        d.x = a->x + (size_t)row * d.k;
        uint32_t channels = edgec_matmul_chunk(a, rows);
        float *sum = a->y + (size_t)row * a->ldy + n;
        uint32_t ld = a->ldy;
        if (a->addend) {
            sum = buffer.sums + channels;
            ld = EDGEC_ACC_ROW;
        }
        if (channels > end - n) {
            channels = end - n;
        }
        const uint8_t *w = a->w + (size_t)n * d.step;
        uint32_t side = n * call->groups, at = row * call->groups, g = 0;
        EDGEC_UNROLL_1
        do {
            const edgec_matmul_part *part = ++g == call->groups ? &call->last : &call->whole;
            d.blocks = part->blocks;
            d.pad = NULL;
            const int8_t *x = d.x + d.blocks * block;
            if (part->left) {
                edgec_matmul_pad(rows, block, part->left, x, d.k, (int8_t *)pad);
                x += part->left;
                d.pad = pad;
                if (!d.blocks) {
                    d.x = (const int8_t *)pad;
                    d.pad = NULL;
                    d.k = block;
                    d.blocks = 1;
                }
            }
            const int32_t *x_sums = a->x_sums + at;
            d.init[0] = -x_sums[0] * (1 << (bits - 1u)); /* zero is the middle code */
            if (rows > 1u) {
                d.init[1] = -x_sums[call->groups] * (1 << (bits - 1u));
            }
            const uint8_t *u = w;
            int32_t *acc = buffer.acc, *const last = buffer.acc + channels;
            EDGEC_UNROLL_1
            do {
                if (fours && acc + 4 <= last) {
                    edgec_matmul_dots(bits, rows, 4, u, &d, acc);
                    u += 4u * d.step;
                    acc += 4;
                } else {
                    edgec_matmul_dots(bits, rows, strip, u, &d, acc);
                    u += strip * d.step;
                    acc += strip;
                    if (acc < last && acc + strip > last) { /* some channels once more */
                        u -= (uint32_t)(acc + strip - last) * d.step;
                        acc = last - strip;
                    }
                }
            } while (acc < last);
            w += call->group_bytes;
            d.x = x;
            d.k = a->k;
            EDGEC_UNROLL_1
            for (uint32_t r = 0; r < rows; r++) {
                if (a->w_zero) {
                    edgec_matmul_zeros(channels, buffer.acc + r * EDGEC_ACC_ROW, a->w_zero + side,
                                       call->groups, 1 << (bits - 1u), a->x_sums[at + r * call->groups]);
                }
                edgec_matmul_scale(channels, buffer.acc + r * EDGEC_ACC_ROW, a->w_scale + side, call->groups,
                                   a->x_scale[at + r * call->groups], g == 1u, sum + r * ld);
            }
            side++;
            at++;
        } while (g < call->groups);
        if (a->addend || a->bias || a->w_min) {
            for (uint32_t r = 0; r < rows; r++) {
                edgec_matmul_finish(a, bits, call->groups, row + r, n, channels, sum + r * ld);
            }
        }
        n += channels;
        if (n == end) {
            n = begin;
            row += rows;
        }
    } while (row + rows <= call->a->m);
}

/* The same where strips serve: each takes all groups at once. */
EDGEC_INLINE void edgec_matmul_strips(uint32_t bits, uint32_t rows, uint32_t strip,
                                      const edgec_matmul_call *call, uint32_t row, uint32_t begin,
                                      uint32_t end) {
    uint32_t n = begin;
    EDGEC_UNROLL_1
    do {
        const edgec_matmul_w4a8_args *a = call->a;
        const uint32_t groups = call->groups;
        float buffer[EDGEC_CHUNK];
        const int apart = a->addend || a->bias || a->w_min; /* y may be the addend */
        const uint32_t most = EDGEC_CHUNK / rows;
        const uint32_t channels = apart && end - n > most ? most : end - n;
        const uint32_t rest =
            channels % strip; /* of a last strip, which has some channels of the one before too */
        float *const sums = apart ? buffer : a->y + (size_t)row * a->ldy + n;
        float *const tail = apart ? buffer + channels - rest : buffer; /* that strip's sums */
        edgec_strip d;
        d.step = call->row_bytes;
        d.back = 4u - (strip - 1u) * d.step;
        d.k = a->k;
        d.k_back = 4u - (rows - 1u) * d.k;
        d.blocks = call->last.blocks;
        d.groups = groups;
        d.next = 4u * groups;
        d.scales = (uintptr_t)a->x_scale - (uintptr_t)(a->x_sums + 1);
        d.stride = 2u * groups;
        d.sums = sums;
        d.ld = 4u * (apart ? most : a->ldy);
        d.accs = d.acc;
        const uint8_t *w = a->w + (size_t)n * d.step;
        const uint16_t *w_scale = a->w_scale + (size_t)n * groups;
        EDGEC_UNROLL_1
        for (uint32_t left = channels; left > 0; left -= strip) {
            if (EDGEC_SELDOM(left < strip)) {
                w -= (strip - left) * d.step;
                w_scale -= (strip - left) * groups;
                d.sums = tail;
                d.ld = 4u * most;
                left = strip;
            }
            d.x = call->a->x + row * d.k;
            d.x_sums = call->a->x_sums + row * groups;
            d.w = w;
            d.w_scale = w_scale;
            if (bits == 4u) {
                edgec_strip_w4(rows, &d);
            } else {
                edgec_strip_w8(rows, &d);
            }
            w += strip * d.step;
            w_scale += strip * groups;
            d.sums += strip;
        }
        if (apart || EDGEC_SELDOM(rest)) {
            EDGEC_UNROLL_1
            for (uint32_t r = 0; r < rows; r++) {
                if (apart && channels > rest) {
                    edgec_matmul_finish(call->a, bits, call->groups, row + r, n, channels - rest,
                                        buffer + r * (EDGEC_CHUNK / rows));
                }
                if (rest) {
                    edgec_matmul_finish(call->a, bits, call->groups, row + r, n + channels - rest, rest,
                                        tail + r * (EDGEC_CHUNK / rows) + strip - rest);
                }
            }
        }
        n += channels;
        if (n == end) {
            n = begin;
            row += rows;
        }
    } while (row + rows <= call->a->m);
}

/* A function each, so that the registers of one are not taken by what only another one needs. */
#define EDGEC_ROWS(bits, rows, strip, name)                                                                  \
    EDGEC_APART void edgec_matmul_w##bits##_##name(const edgec_matmul_call *call, uint32_t row, uint32_t n,  \
                                                   uint32_t end) {                                           \
        uint32_t pad[rows * (8u / ((bits) & (0u - (bits))))]; /* blocks of 32 / the narrowest plane */       \
        edgec_matmul_rows(bits, rows, strip, call, row, n, end, pad);                                        \
    }

#define EDGEC_WHOLE(bits, rows, strip, name)                                                                 \
    EDGEC_APART void edgec_matmul_w##bits##_##name(const edgec_matmul_call *call, uint32_t row, uint32_t n,  \
                                                   uint32_t end) {                                           \
        edgec_matmul_strips(bits, rows, strip, call, row, n, end);                                           \
    }

/* Strips of `strip` channels, and what they leave. */
#define EDGEC_ALL(bits, rows, strip, strips, rest)                                                           \
    {                                                                                                        \
        const uint32_t end = call.end - edgec_matmul_rest(&call, rows, strip);                               \
        if (call.begin < end) {                                                                              \
            edgec_matmul_w##bits##_##strips(&call, row, call.begin, end);                                    \
        }                                                                                                    \
        if (end < call.end) {                                                                                \
            edgec_matmul_w##bits##_##rest(&call, row, end, call.end);                                        \
        }                                                                                                    \
    }

/* strip, strip2: channels of a strip for one row and for two. */
#define EDGEC_WALKS(bits, strip, strip2)                                                                     \
    EDGEC_ROWS(bits, 1, strip, strips_one)                                                                   \
    EDGEC_ROWS(bits, 1, 1, rest_one)                                                                         \
    EDGEC_ROWS(bits, 2, strip2, strips_two)                                                                  \
    EDGEC_ROWS(bits, 2, 1, rest_two)

#define EDGEC_MATMUL(bits, strip, strip2)                                                                    \
    EDGEC_WALKS(bits, strip, strip2)                                                                         \
    void edgec_matmul_w##bits##a8(const edgec_matmul_w##bits##a8_args *a, uint32_t core, uint32_t n_cores) { \
        edgec_matmul_call call;                                                                              \
        edgec_matmul_begin(bits, a, core, n_cores, &call);                                                   \
        uint32_t row = 0;                                                                                    \
        if (a->m >= 2u) {                                                                                    \
            EDGEC_ALL(bits, 2, strip2, strips_two, rest_two)                                                 \
            row = a->m - a->m % 2u;                                                                          \
        }                                                                                                    \
        if (row < a->m) {                                                                                    \
            EDGEC_ALL(bits, 1, strip, strips_one, rest_one)                                                  \
        }                                                                                                    \
    }

/* The same for widths with strips over all groups: of one row, or of `rows` rows and 4 channels. Of one group only tiles of
 * four rows are faster than without, and two groups of one row do not pay for more code. */
#define EDGEC_MATMUL_WHOLE(bits, strip, strip2, rows)                                                        \
    EDGEC_WALKS(bits, strip, strip2)                                                                         \
    EDGEC_WHOLE(bits, 1, strip, whole_one)                                                                   \
    EDGEC_WHOLE(bits, rows, 4, whole_rows)                                                                   \
    void edgec_matmul_w##bits##a8(const edgec_matmul_w##bits##a8_args *a, uint32_t core, uint32_t n_cores) { \
        edgec_matmul_call call;                                                                              \
        edgec_matmul_begin(bits, a, core, n_cores, &call);                                                   \
        uint32_t row = 0;                                                                                    \
        if (call.strips && a->m >= rows && (rows == 4 || call.groups > 1u)) {                                \
            edgec_matmul_w##bits##_whole_rows(&call, 0, call.begin, call.end);                               \
            row = a->m - a->m % rows;                                                                        \
        }                                                                                                    \
        if (a->m - row >= 2u) {                                                                              \
            EDGEC_ALL(bits, 2, strip2, strips_two, rest_two)                                                 \
            row = a->m - a->m % 2u;                                                                          \
        }                                                                                                    \
        if (row < a->m && call.strips && call.groups > 2u) {                                                 \
            EDGEC_ALL(bits, 1, strip, whole_one, rest_one)                                                   \
        } else if (row < a->m) {                                                                             \
            EDGEC_ALL(bits, 1, strip, strips_one, rest_one)                                                  \
        }                                                                                                    \
    }

EDGEC_MATMUL(2, 4, 4)
EDGEC_MATMUL(3, 1, 1)
EDGEC_MATMUL_WHOLE(4, 8, 4, 2)
EDGEC_MATMUL(5, 2, 2)
EDGEC_MATMUL(6, 2, 2)
EDGEC_MATMUL(7, 1, 1)
EDGEC_MATMUL_WHOLE(8, 8, 8, 4)
