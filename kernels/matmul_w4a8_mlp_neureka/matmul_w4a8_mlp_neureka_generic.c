#include "matmul_w4a8_mlp_neureka_call.h"

EDGEC_INLINE void mlp(const edgec_matmul_w4a8_mlp_neureka_args *a) {
    edgec_mlp_apart(a);
}

EDGEC_MATMUL_MLP_NEUREKA(w2a8_mlp_neureka)
EDGEC_MATMUL_MLP_NEUREKA(w3a8_mlp_neureka)
EDGEC_MATMUL_MLP_NEUREKA(w4a8_mlp_neureka)
EDGEC_MATMUL_MLP_NEUREKA(w5a8_mlp_neureka)
EDGEC_MATMUL_MLP_NEUREKA(w6a8_mlp_neureka)
EDGEC_MATMUL_MLP_NEUREKA(w7a8_mlp_neureka)
EDGEC_MATMUL_MLP_NEUREKA(w8a8_mlp_neureka)
EDGEC_MATMUL_MLP_NEUREKA(w8a8_mlp_neureka_1x1)
