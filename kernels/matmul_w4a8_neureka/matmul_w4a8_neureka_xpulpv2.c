/* The kernels of matmul_w4a8_neureka.h for cores with XpulpV2. */
#include "matmul_w4a8_neureka_scale_xpulpv2.h"

/* A core's share of a tile. */
EDGEC_INLINE void scale(const edgec_neureka_call *c, const edgec_neureka_tile *t, uint32_t core,
                        uint32_t n_cores) {
    const edgec_range mine = edgec_share(t->count, core, n_cores);
    scale_channels(c, t->acc + mine.begin, t->first + mine.begin, mine.end - mine.begin);
}

static void team(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_NEUREKA_TEAM(args, core, n_cores, scale);
}

EDGEC_APART void matmul(const edgec_matmul_w4a8_neureka_args *a, uint32_t bits) {
    edgec_neureka_call c;
    edgec_neureka_begin(&c, a, bits, 1);
    hal_fork_team(team, &c);
}

EDGEC_MATMUL_NEUREKA(w2a8_neureka, 2)
EDGEC_MATMUL_NEUREKA(w3a8_neureka, 3)
EDGEC_MATMUL_NEUREKA(w4a8_neureka, 4)
EDGEC_MATMUL_NEUREKA(w5a8_neureka, 5)
EDGEC_MATMUL_NEUREKA(w6a8_neureka, 6)
EDGEC_MATMUL_NEUREKA(w7a8_neureka, 7)
EDGEC_MATMUL_NEUREKA(w8a8_neureka, 8)
EDGEC_MATMUL_NEUREKA(w8a8_neureka_1x1, 0)
