/* A job as the 24 registers of N-EUREKA; edgec/neureka/job.py has their names.
 *
 * Inline, because for a job of constants they are constants. Pointers are taken as 32-bit addresses: on a host
 * the registers hold their lower halves.
 */
#ifndef EDGEC_NEUREKA_REGISTERS_H
#define EDGEC_NEUREKA_REGISTERS_H

#include "neureka.h"

#define EDGEC_NEUREKA_WORDS 24u

#define EDGEC_NEUREKA_NEURAL       0x10400000u /* MRAM, then tile SRAM: weights are addressed from here */
#define EDGEC_NEUREKA_NEURAL_BYTES 0x00800000u

static inline uint32_t edgec_neureka_address(const void *p) {
    return (uint32_t)(uintptr_t)p;
}

static inline uint32_t edgec_neureka_from_neural(const void *w) {
    return edgec_neureka_address(w) - EDGEC_NEUREKA_NEURAL < EDGEC_NEUREKA_NEURAL_BYTES;
}

/* Where the engine finds weights. */
static inline uint32_t edgec_neureka_weights(const void *w) {
    return edgec_neureka_address(w) - (edgec_neureka_from_neural(w) ? EDGEC_NEUREKA_NEURAL : 0u);
}

static inline uint32_t edgec_neureka_tiles(uint32_t size, uint32_t tile) {
    return (size + tile - 1u) / tile;
}

/* Size of the last tile: 1 to tile. */
static inline uint32_t edgec_neureka_rest(uint32_t size, uint32_t tile) {
    return (size - 1u) % tile + 1u;
}

/* Top, right, bottom, left: those behind count from the end of the engine's buffer of inputs. */
static inline uint32_t edgec_neureka_padding(const edgec_neureka_job *job) {
    const uint32_t behind = EDGEC_NEUREKA_BUFFER + job->border - 2u;
    return (uint32_t)job->border << 28 | (behind - job->width) << 24 | (behind - job->height) << 20 |
           (uint32_t)job->border << 16;
}

EDGEC_INLINE void edgec_neureka_registers(const edgec_neureka_job *job, uint32_t *words) {
    const uint32_t is_3x3 = job->filter == 3u;
    const uint32_t block = is_3x3 ? EDGEC_NEUREKA_CIN_3X3 : EDGEC_NEUREKA_CIN_1X1;
    const uint32_t blocks = edgec_neureka_tiles(job->cin, block);
    const uint32_t pixels = EDGEC_NEUREKA_PIXELS, pass = EDGEC_NEUREKA_PASS, line = EDGEC_NEUREKA_LINE;
    const uint32_t rest_out =
        edgec_neureka_rest(job->height, pixels) << 16 | edgec_neureka_rest(job->width, pixels);
    const uint32_t requantised = job->output != EDGEC_NEUREKA_INT32;
    words[0] = edgec_neureka_weights(job->w);
    words[1] = edgec_neureka_address(job->x);
    words[2] = edgec_neureka_address(job->y);
    words[3] = edgec_neureka_address(job->scale);
    words[4] = 0; /* shifts of each channel */
    words[5] = edgec_neureka_address(job->bias);
    words[6] = job->x_pixel;
    words[7] = job->x_row;
    words[8] = 0;
    words[9] = line; /* 8 outputs of 32 bits */
    words[10] = job->y_pixel;
    words[11] = job->y_row;
    words[12] = line;
    words[13] = line * blocks * (is_3x3 ? job->bits : 1u);
    words[14] = 0;
    words[15] = edgec_neureka_rest(job->cout, pass) << 16 | edgec_neureka_rest(job->cin, block);
    words[16] = rest_out;
    words[17] = rest_out + (is_3x3 ? 2u << 16 | 2u : 0u); /* of the input */
    words[18] = edgec_neureka_tiles(job->cout, pass) << 16 | blocks;
    words[19] = edgec_neureka_tiles(job->height, pixels) << 16 | edgec_neureka_tiles(job->width, pixels);
    words[20] = job->border ? edgec_neureka_padding(job) : 0;
    words[21] = (uint32_t)job->offset;
    words[22] = 0; /* filter mask */
    words[23] = (job->bits - 1u) | (is_3x3 ? 0u : 2u << 5) | requantised << 4 |
                edgec_neureka_from_neural(job->w) << 9 | (job->prefetch ? 1u << 10 : 0u) |
                (job->scale_bits == 32u ? 2u << 12 : 0u) | 1u << 15 /* the offset of the job */ |
                (uint32_t)job->shift << 16 | (requantised ? 0u : 2u << 21) |
                (job->output == EDGEC_NEUREKA_INT8 ? 1u << 23 : 0u) | (job->bias ? 1u << 25 : 0u) |
                (job->x_signed ? 1u << 26 : 0u);
}

#endif
