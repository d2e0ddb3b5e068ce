/* sample_params: what `sample` reads as its params, from a user's choice. */
#ifndef EDGEC_SAMPLE_PARAMS_H
#define EDGEC_SAMPLE_PARAMS_H

#include <stdint.h>

/* Fills params[6] of edgec_sample: temperature 0 is greedy, top_k 0 and top_p 1 leave all tokens in; the seed
 * starts the generator. */
void edgec_sample_params(int32_t *params, float temperature, uint32_t top_k, float top_p, uint64_t seed);

#endif
