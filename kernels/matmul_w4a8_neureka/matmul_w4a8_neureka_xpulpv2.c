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

#if defined(EDGEC_PULP_FLOAT)
/* The same for a single row: all that does not depend on the engine's sums is found while it works. */
static void team_of_row(const void *args, uint32_t core, uint32_t n_cores) {
    edgec_neureka_call *const c = (edgec_neureka_call *)(uintptr_t)args; /* core 0 writes to it */
    const edgec_neureka_tile *t = c->tiles;
    uint32_t end;
    do {
        if (core == 0) {
            edgec_neureka_feed(c);
        }
        const edgec_range mine = edgec_share(t->count, core, n_cores);
        const edgec_neureka_span span =
            span_of(c, t->acc + mine.begin, 0, t->first + mine.begin, mine.end - mine.begin);
        end = t->first + t->count;
        t = edgec_neureka_after(c, t);
        edgec_neureka_meet(c, core);
        if (!EDGEC_SELDOM(span.count == 0)) {
            scale_span(c, &span);
        }
    } while (end < c->width);
}
#endif

EDGEC_NEUREKA_BEGINS_WITH(edgec_matmul_w4a8_neureka_args);

EDGEC_APART void matmul(const edgec_matmul_w4a8_neureka_args *a) {
    edgec_neureka_call c;
    c.addend = a->addend;
    edgec_neureka_begin(&c, (const edgec_neureka_args *)a, 1);
#if defined(EDGEC_PULP_FLOAT)
    if (a->m == 1u && !EDGEC_SELDOM(a->addend && a->bias)) {
        hal_fork_team(team_of_row, &c);
        return;
    }
#endif
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
