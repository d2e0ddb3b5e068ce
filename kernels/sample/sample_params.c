#include "sample_params.h"

#include "edgec_math.h"

#define MULTIPLIER 6364136223846793005u
#define INCREMENT  1442695040888963407u

void edgec_sample_params(int32_t *params, float temperature, uint32_t top_k, float top_p, uint64_t seed) {
    /* PCG32's seeding: one step, the seed added, another step. */
    const uint64_t state = (seed + INCREMENT) * MULTIPLIER + INCREMENT;
    const uint32_t k = top_k > INT32_MAX ? INT32_MAX : top_k;
    /* Greedy below 1e-6, where dividing by it could overflow. */
    if (!(temperature >= 1e-6f)) {
        temperature = 0.0f;
    }
    params[0] = (int32_t)edgec_bits(temperature);
    params[1] = (int32_t)k;
    params[2] = (int32_t)edgec_bits(top_p);
    params[3] = 0;
    params[4] = (int32_t)(uint32_t)state;
    params[5] = (int32_t)(uint32_t)(state >> 32);
}
