/* softcap: y = cap tanh(x / cap), float32, with edgec_capped.
 *
 * Units: elements. y may be the same memory as x; partial overlap is not allowed.
 */
#ifndef EDGEC_SOFTCAP_H
#define EDGEC_SOFTCAP_H

#include "edgec_kernel.h"

typedef struct {
    const float *x; /* [n] */
    float *y;       /* [n] */
    uint32_t n;
    float cap; /* above 0 */
} edgec_softcap_args;

void edgec_softcap(const edgec_softcap_args *a, uint32_t core, uint32_t n_cores);

#endif
