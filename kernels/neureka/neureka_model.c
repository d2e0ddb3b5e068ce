/* The C model of N-EUREKA. Loops are the engine's: passes of 32 output channels, pixels, blocks of inputs.
 *
 * A block's inputs are cut into fours. For each four there is a table of the 16 sums of its inputs that four
 * weight bits can select, so that a nibble of a line is one look-up and the weights are never unpacked.
 */
#include "neureka.h"

#define PASS  EDGEC_NEUREKA_PASS
#define LINE  EDGEC_NEUREKA_LINE
#define FOURS (9u * EDGEC_NEUREKA_CIN_3X3 / 4u) /* of the larger block */

/* What a mode makes of a block. */
typedef struct {
    uint32_t channels; /* of a block */
    uint32_t fours;    /* groups of four inputs */
    uint32_t lines;    /* of an output channel */
    uint32_t plane;    /* nibbles from a bit of a four to its next bit */
    uint32_t step;     /* nibbles from a four to the next one */
} layout;

static layout layout_of(const edgec_neureka_job *job) {
    if (job->filter == 3u) {
        return (layout){EDGEC_NEUREKA_CIN_3X3, FOURS, job->bits, 2u * LINE, 1};
    }
    return (layout){EDGEC_NEUREKA_CIN_1X1, EDGEC_NEUREKA_CIN_1X1 / 4u, 1, 1, 8};
}

/* Whether an input's row or column is in a border. */
static int outside(const edgec_neureka_job *job, uint32_t at, uint32_t outputs) {
    return at < job->border || at >= outputs + job->filter - 1u - job->border;
}

/* The inputs of output pixel i, j and a block, position by position; channels behind cin are 0. */
static void load(const edgec_neureka_job *job, uint32_t i, uint32_t j, uint32_t first, uint32_t channels,
                 int16_t *inputs) {
    const uint8_t *pixel = job->x + i * job->x_row + j * job->x_pixel;
    const uint32_t rest = job->cin - first;
    const uint32_t there = rest < channels ? rest : channels;
    for (uint32_t r = 0; r < job->filter; r++) {
        for (uint32_t s = 0; s < job->filter; s++) {
            const uint8_t *x = pixel + r * job->x_row + s * job->x_pixel + first;
            const uint32_t here =
                outside(job, i + r, job->height) || outside(job, j + s, job->width) ? 0 : there;
            for (uint32_t c = 0; c < channels; c++) {
                const uint8_t value = c < here ? x[c] : 0;
                *inputs++ = job->x_signed ? (int16_t)(int8_t)value : (int16_t)value;
            }
        }
    }
}

/* All sums of a subset of each four, and the sum of all inputs. */
static int32_t tabulate(const int16_t *inputs, uint32_t fours, int16_t table[][16]) {
    int32_t sum = 0;
    for (uint32_t g = 0; g < fours; g++, inputs += 4) {
        int16_t *t = table[g];
        t[0] = 0;
        for (uint32_t i = 0; i < 4u; i++) {
            for (uint32_t j = 0; j < 1u << i; j++) {
                t[(1u << i) + j] = (int16_t)(t[j] + inputs[i]);
            }
        }
        sum += t[15];
    }
    return sum;
}

static inline uint32_t nibble(const uint8_t *w, uint32_t i) {
    return (w[i / 2u] >> (i % 2u * 4u)) & 15u;
}

/* sum of x * u over a block: one output channel. Wraps around as the engine's accumulators do. */
static uint32_t multiply(const uint8_t *w, uint32_t bits, layout form, int16_t table[][16]) {
    uint32_t sum = 0;
    for (uint32_t b = bits; b-- > 0;) {
        int32_t plane = 0;
        for (uint32_t g = 0; g < form.fours; g++) {
            plane += table[g][nibble(w, b * form.plane + g * form.step)];
        }
        sum = 2u * sum + (uint32_t)plane;
    }
    return sum;
}

/* Two's complement of a 32-bit pattern, by the value and not by the implementation. */
static inline int32_t as_signed(uint32_t bits) {
    return bits < 1u << 31 ? (int32_t)bits : -(int32_t)~bits - 1;
}

static uint8_t requantise(const edgec_neureka_job *job, uint32_t n, int32_t acc) {
    const uint32_t scale =
        job->scale_bits == 8u ? ((const uint8_t *)job->scale)[n] : ((const uint32_t *)job->scale)[n];
    int64_t value = (int64_t)acc * scale;
    if (job->bias) {
        value = as_signed((uint32_t)(uint64_t)value + (uint32_t)job->bias[n]);
    }
    /* An arithmetic shift without shifting a negative number. */
    value = value < 0 ? ~(~value >> job->shift) : value >> job->shift;
    const int32_t low = job->output == EDGEC_NEUREKA_UINT8 ? 0 : -128;
    return (uint8_t)(value < low ? low : value > low + 255 ? low + 255 : value);
}

static void store(const edgec_neureka_job *job, uint32_t i, uint32_t j, uint32_t n, uint32_t acc) {
    uint8_t *pixel = (uint8_t *)job->y + i * job->y_row + j * job->y_pixel;
    if (job->output == EDGEC_NEUREKA_INT32) {
        ((int32_t *)(void *)pixel)[n] = as_signed(acc);
    } else {
        pixel[n] = requantise(job, n, as_signed(acc));
    }
}

void edgec_neureka_run(const edgec_neureka_job *job) {
    const layout form = layout_of(job);
    const uint32_t blocks = (job->cin + form.channels - 1u) / form.channels;
    const uint32_t channel_bytes = blocks * form.lines * LINE;
    int16_t inputs[4u * FOURS];
    int16_t table[FOURS][16];
    for (uint32_t first = 0; first < job->cout; first += PASS) {
        const uint32_t count = job->cout - first < PASS ? job->cout - first : PASS;
        for (uint32_t i = 0; i < job->height; i++) {
            for (uint32_t j = 0; j < job->width; j++) {
                uint32_t acc[PASS] = {0};
                for (uint32_t block = 0; block < blocks; block++) {
                    load(job, i, j, block * form.channels, form.channels, inputs);
                    const uint32_t sum = (uint32_t)tabulate(inputs, form.fours, table);
                    const uint8_t *w = job->w + first * channel_bytes + block * form.lines * LINE;
                    for (uint32_t n = 0; n < count; n++, w += channel_bytes) {
                        acc[n] += multiply(w, job->bits, form, table) + (uint32_t)job->offset * sum;
                    }
                }
                for (uint32_t n = 0; n < count; n++) {
                    store(job, i, j, first + n, acc[n]);
                }
            }
        }
    }
}
