#include "attention_neureka_call.h"

void edgec_attention_neureka(const edgec_attention_neureka_args *a, uint32_t core, uint32_t n_cores) {
    edgec_attention(edgec_attention_of(a), core, n_cores);
}
