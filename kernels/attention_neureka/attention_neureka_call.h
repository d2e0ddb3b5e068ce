/* attention_neureka's arguments as attention's, with which they begin. */
#ifndef EDGEC_ATTENTION_NEUREKA_CALL_H
#define EDGEC_ATTENTION_NEUREKA_CALL_H

#include "../attention/attention.h"
#include "attention_neureka.h"

_Static_assert(offsetof(edgec_attention_neureka_args, q) == offsetof(edgec_attention_args, q) &&
                   offsetof(edgec_attention_neureka_args, y) == offsetof(edgec_attention_args, y) &&
                   offsetof(edgec_attention_neureka_args, factor) == offsetof(edgec_attention_args, factor),
               "other arguments come behind");

EDGEC_INLINE const edgec_attention_args *edgec_attention_of(const void *a) {
    return (const edgec_attention_args *)a;
}

#endif
