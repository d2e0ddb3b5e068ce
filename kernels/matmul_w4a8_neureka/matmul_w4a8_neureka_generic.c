#include "matmul_w4a8_neureka_tiles.h"

EDGEC_INLINE void scale(const edgec_neureka_call *c, const edgec_neureka_tile *t, uint32_t core,
                        uint32_t n_cores) {
    const edgec_range mine = edgec_split(t->count, core, n_cores);
    for (uint32_t row = 0; row < c->a->m; row++) {
        const int32_t *acc = t->acc + row * c->a->groups * c->a->tile;
        EDGEC_ADD_TAILS(edgec_neureka_add_tail, c->a, acc + mine.begin, row, t->first + mine.begin,
                        mine.end - mine.begin);
        edgec_neureka_scale(c, acc + mine.begin, row, t->first + mine.begin, mine.end - mine.begin);
    }
}

static void team(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_NEUREKA_TEAM(args, core, n_cores, scale);
}

EDGEC_NEUREKA_BEGINS_WITH(edgec_matmul_w4a8_neureka_args);

EDGEC_APART void matmul(const edgec_matmul_w4a8_neureka_args *a) {
    edgec_neureka_call c;
    c.addend = a->addend;
    edgec_neureka_begin(&c, (const edgec_neureka_args *)a, 1);
    hal_fork_team(team, &c);
}

EDGEC_MATMUL_NEUREKA(w2a8_neureka)
EDGEC_MATMUL_NEUREKA(w3a8_neureka)
EDGEC_MATMUL_NEUREKA(w4a8_neureka)
EDGEC_MATMUL_NEUREKA(w5a8_neureka)
EDGEC_MATMUL_NEUREKA(w6a8_neureka)
EDGEC_MATMUL_NEUREKA(w7a8_neureka)
EDGEC_MATMUL_NEUREKA(w8a8_neureka)
EDGEC_MATMUL_NEUREKA(w8a8_neureka_1x1)
