/* The kernels of matmul_w4a8_neureka.h for cores with XpulpV2. */
#include "matmul_w4a8_neureka_plain_xpulpv2.h"
#include "matmul_w4a8_neureka_row.h"
#include "matmul_w4a8_neureka_scale_xpulpv2.h"

/* A core's share of a tile: rows, where the cores have about as many each, for a row of few channels is mostly what each
 * row takes; else channels. */
EDGEC_INLINE void scale(const edgec_neureka_call *c, const edgec_neureka_tile *t, uint32_t core,
                        uint32_t n_cores) {
#if defined(EDGEC_PULP_FLOAT)
    const uint32_t m = c->a->m;
    const edgec_range rows = edgec_share(m, core, n_cores);
    if (4u * n_cores * edgec_share(m, 0, n_cores).end <= 5u * m && !EDGEC_SELDOM(c->addend && c->a->bias)) {
        scale_rows(c, t->acc + rows.begin * c->a->groups * c->a->tile, rows, t->first, t->count);
        return;
    }
#endif
    const edgec_range mine = edgec_share(t->count, core, n_cores);
    scale_channels(c, t->acc + mine.begin, t->first + mine.begin, mine.end - mine.begin);
}

static void team(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_NEUREKA_TEAM(args, core, n_cores, scale);
}

EDGEC_NEUREKA_BEGINS_WITH(edgec_matmul_w4a8_neureka_args);

#if defined(EDGEC_PULP_FLOAT)
#define EDGEC_APART_JOB 4096u /* products of a job: of shorter ones meeting takes longer than it saves */

/* The last tile of a single row of several groups, which are scaled one by one: behind the engine's last job one group is
 * left, not all. What groups give together so far lies where the sums of the first one were. */
EDGEC_INLINE void scale_apart(const edgec_matmul_w4a8_neureka_args *a, edgec_neureka_list *list,
                              const edgec_neureka_shape *shape, int32_t *acc, uint32_t first, uint32_t core,
                              uint32_t n_cores) {
    const float nothing = -0.0f; /* added, it changes no number, not even -0 */
    const edgec_range mine = edgec_share(a->n - first, core, n_cores);
    const uint32_t channel = first + mine.begin;
    float *const so_far = (float *)(void *)(acc + mine.begin);
    edgec_neureka_group g = {
        acc + mine.begin,     a->w_scale + channel * a->groups, &nothing, 0, &nothing, 0, so_far,
        mine.end - mine.begin};
    const float *x_scale = a->x_scale;
    uint32_t left = a->groups;
    for (;;) {
        if (core == 0) {
            edgec_neureka_list_feed(list, shape, 1);
        }
        const float unit = *x_scale++ * F16_UNIT;
        if (--left == 0) {
            g.to = a->y + channel;
            if (a->addend || a->bias) { /* not both; sums of two numbers do not depend on their order */
                g.added = (a->addend ? a->addend : a->bias) + channel;
                g.added_step = sizeof(float);
            }
        }
        edgec_neureka_list_meet(list, shape, core);
        if (!EDGEC_SELDOM(g.count == 0)) {
            if (EDGEC_SELDOM(a->tail > 0)) {
                add_tail(EDGEC_TAIL_OF(a, 0, channel, a->groups - 1u - left), g.acc, g.count);
            }
            scale_group(&g, 2u * a->groups, unit);
        }
        if (left == 0) {
            return;
        }
        g.before = so_far;
        g.before_step = sizeof(float);
        g.acc += a->tile;
        g.w++;
    }
}

/* The same for a single row of several groups, or with a scale that becomes no number times 2^112: all that does not depend
 * on the engine's sums is found while it works. */
static void team_of_row(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_KNOWN(edgec_matmul_w4a8_neureka_args, a, args);
    const edgec_neureka_shape shape = EDGEC_NEUREKA_SHAPE(a, 1u);
    const float nothing = -0.0f; /* added, it changes no number, not even -0 */
    edgec_neureka_list list;
    edgec_neureka_list_begin(&list, (const edgec_neureka_next *)args, &shape, a->fold);
    uint32_t first = 0, count = a->first, room = EDGEC_NEUREKA_TILES;
    int32_t *acc = a->acc;
    for (;;) {
        if (a->groups > 1u && first + count == a->n && count * a->group_size >= EDGEC_APART_JOB &&
            all_finite(a->x_scale, a->groups)) {
            scale_apart(a, &list, &shape, acc, first, core, n_cores);
            return;
        }
        if (core == 0) {
            edgec_neureka_list_feed(&list, &shape, a->groups);
        }
        const edgec_range mine = edgec_share(count, core, n_cores);
        const uint32_t channel = first + mine.begin;
        edgec_neureka_span span = {
            acc + mine.begin,     a->w_scale + channel * a->groups, a->x_scale, &nothing, a->y + channel, 0,
            mine.end - mine.begin};
        if (a->addend || a->bias) { /* not both; sums of two numbers do not depend on their order */
            span.added = (a->addend ? a->addend : a->bias) + channel;
            span.step = sizeof(float);
        }
        edgec_neureka_list_meet(&list, &shape, core);
        if (!EDGEC_SELDOM(span.count == 0)) {
            EDGEC_ADD_TAILS(add_tail, a, span.acc, 0, channel, span.count);
            scale_span(a->groups, a->tile, &span);
        }
        first += count;
        if (first == a->n) {
            return;
        }
        count = edgec_neureka_count(a->tile, a->n - first);
        acc += a->groups * a->tile;
        if (--room == 0) {
            room = EDGEC_NEUREKA_TILES;
            acc = a->acc;
        }
    }
}
#endif

EDGEC_SHARED void matmul(const edgec_matmul_w4a8_neureka_args *args) {
    EDGEC_KNOWN(edgec_matmul_w4a8_neureka_args, a, args);
#if defined(EDGEC_PULP_FLOAT)
    if (a->m == 1u && !EDGEC_SELDOM(a->addend && a->bias)) {
        EDGEC_NEUREKA_FIRST(args, a);
        const int plain = a->groups == 1u && edgec_abs(*a->x_scale) < F16_UNIT_LIMIT;
        hal_fork_team(plain ? edgec_plain_team : team_of_row, args);
        return;
    }
#endif
    edgec_neureka_call c;
    c.addend = a->addend;
    edgec_neureka_begin(&c, (const edgec_neureka_args *)args, 1);
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
