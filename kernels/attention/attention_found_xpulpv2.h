/* What cores that share the heads of a row exchange, for cores with XpulpV2. */
#ifndef EDGEC_ATTENTION_FOUND_XPULPV2_H
#define EDGEC_ATTENTION_FOUND_XPULPV2_H

#include "attention.h"

/* Numbers of a head and core in found [4][rooms][cores]; scales have their key/value head's. The factor of p . v has
 * place 0 of its head. */
enum { EDGEC_FOUND_FACTOR, EDGEC_FOUND_SCORE, EDGEC_FOUND_SUM, EDGEC_FOUND_SCALE };

EDGEC_INLINE float *edgec_found(const edgec_attention_args *a, uint32_t what, uint32_t head) {
    return a->found + (what * a->rooms + head) * a->cores;
}

#endif
