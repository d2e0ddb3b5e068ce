/* The chip's neureka_jobs_neureka.c for a host: what its jobs write to the engine is kept in place of the registers. */
#define EDGEC_NEUREKA_DRIVER_H
#include "neureka_registers.h"

#define EDGEC_NEUREKA_BASE              0u
#define EDGEC_NEUREKA_TRIGGER           0u
#define EDGEC_NEUREKA_ACQUIRE           1u
#define EDGEC_NEUREKA_REGISTER(address) (registers[address])

static uint32_t registers[2], written, files[2][EDGEC_NEUREKA_WORDS];
static uint32_t place_of_next(void);

static void edgec_neureka_open(void) {
}
static void edgec_neureka_sleep(void) {
}
static void edgec_neureka_acquire(void) {
}
static void edgec_neureka_wait(uint32_t open) {
    (void)open;
}
static void edgec_neureka_write(uint32_t word, uint32_t value) {
    files[place_of_next()][word] = value;
    written |= 1u << word;
}

#include "neureka_jobs_neureka.c"

state hal_neureka_state;

static uint32_t place_of_next(void) {
    return hal_neureka_state.turn / (uint32_t)sizeof(place);
}

uint32_t words_of(uint32_t shape, uint32_t height, uint32_t width, uint32_t rest, uint32_t passes);
uint32_t register_of(uint32_t word);
uint32_t words_of_pixels(uint32_t channels, uint32_t heads);

/* Bit i: a job of this shape writes word i. */
uint32_t words_of(uint32_t shape, uint32_t height, uint32_t width, uint32_t rest, uint32_t passes) {
    const edgec_neureka_next job = {
        .w = (const uint8_t *)EDGEC_NEUREKA_NEURAL, .shape = shape, .rest = rest, .passes = passes, .grid = {height, width, 64, 64}};
    written = 0;
    hal_neureka_start(&job);
    return written;
}

/* A word of the last job. */
uint32_t register_of(uint32_t word) {
    return files[1u - place_of_next()][word];
}

uint32_t words_of_pixels(uint32_t channels, uint32_t heads) {
    const edgec_neureka_pixels job = {.cin = channels, .cout = heads, .height = 6, .width = 6};
    written = 0;
    hal_neureka_write(&job);
    hal_neureka_run();
    return written;
}
