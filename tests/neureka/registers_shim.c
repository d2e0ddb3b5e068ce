/* The inline registers as a function that a test can call. */
#include "neureka_registers.h"

void registers_of(const edgec_neureka_job *job, uint32_t *words);

void registers_of(const edgec_neureka_job *job, uint32_t *words) {
    edgec_neureka_registers(job, words);
}
