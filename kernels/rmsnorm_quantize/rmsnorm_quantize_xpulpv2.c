/* The kernel of rmsnorm_quantize.h for cores with XpulpV2. */
#include "rmsnorm_quantize.h"

#include "edgec_parts_xpulpv2.h"
#include "rmsnorm_quantize_loops_xpulpv2.h"

#define EDGEC_GROUPS 4u /* that a row in parts has at most */
#define EDGEC_KEPT                                                                                           \
    64u /* products x * gain that a core keeps on its stack, where those are all that it has of a row */

/* One group whose top is that of edgec_gained_top. x, gain, q: [count]; sum: NULL if nobody wants it */
EDGEC_INLINE void edgec_normalise_group(const float *x, const float *gain, int8_t *q, uint32_t count, float r,
                                        uint32_t doubled, float *scale, int32_t *sum) {
    const float top = edgec_float(doubled >> 1) * r;
    const float inverse = edgec_top_inverse(top);
    *scale = top * EDGEC_ONE_127TH;
    const uint32_t total = edgec_normal_quantize(x, gain, q, count, r, inverse);
    if (sum) {
        *sum = (int32_t)total;
    }
}

/* Several rows of at least 8 elements that are one group each, whole. kept: they are at most EDGEC_KEPT */
EDGEC_INLINE void edgec_normalise_whole(const edgec_rmsnorm_quantize_args *a, uint32_t core, uint32_t n_cores,
                                        const uint32_t kept) {
    const uint32_t k = a->k;
    const edgec_range mine = edgec_share(a->rows, core, n_cores);
    const float *x = a->x + (size_t)mine.begin * k; /* [k] */
    int8_t *q = a->q + (size_t)mine.begin * k;      /* [k] */
    EDGEC_UNROLL_1
    for (uint32_t row = mine.begin; row < mine.end; row++) {
        float v[EDGEC_KEPT];
        uint32_t doubled;
        const float squares = edgec_gained_squares(x, a->gain, k, kept ? v : NULL, &doubled);
        const float r = edgec_rsqrt_steps(squares * a->inv_k + a->eps);
        const float top = edgec_float(doubled >> 1) * r;
        const float inverse = edgec_top_inverse(top);
        const uint32_t sum = kept ? edgec_kept_quantize(v, q, 1, k, r, inverse)
                                  : edgec_normal_quantize(x, a->gain, q, k, r, inverse);
        a->scale[row] = top * EDGEC_ONE_127TH;
        if (a->sums) {
            a->sums[row] = (int32_t)sum;
        }
        x += k;
        q += k;
    }
}

/* Whole groups. Of several rows, a core that has some of a row sums up all of the row's squares; of one, r is known. */
EDGEC_INLINE void edgec_normalise_groups(const edgec_rmsnorm_quantize_args *a, uint32_t core,
                                         uint32_t n_cores, float r) {
    const uint32_t k = a->k;
    const uint32_t groups = edgec_groups(k, a->group_size);
    const edgec_range mine = edgec_share(a->rows * groups, core, n_cores);
    uint32_t unit = mine.begin;
    while (unit < mine.end) {
        const uint32_t row = a->rows > 1u ? unit / groups : 0u;
        const float *x = a->x + (size_t)row * k; /* [k] */
        if (a->rows > 1u) {
            r = edgec_rsqrt_steps(edgec_sum_squares_lanes(x, k) * a->inv_k + a->eps);
        }
        const uint32_t end = edgec_p_minu((row + 1u) * groups, mine.end);
        for (uint32_t first = (unit - row * groups) * a->group_size; unit < end; unit++) {
            const uint32_t count = edgec_p_minu(k - first, a->group_size);
            edgec_normalise_group(x + first, a->gain + first, a->q + (size_t)row * k + first, count, r,
                                  edgec_gained_top(x + first, a->gain + first, count), &a->scale[unit],
                                  a->sums ? &a->sums[unit] : NULL);
            first += count;
        }
    }
}

static void edgec_normalise_rows(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_KNOWN(edgec_rmsnorm_quantize_args, a, args);
    if (a->k > a->group_size || a->k < 8u) {
        edgec_normalise_groups(a, core, n_cores, 0.0f);
    } else if (a->k <= EDGEC_KEPT) {
        edgec_normalise_whole(a, core, n_cores, 1);
    } else {
        edgec_normalise_whole(a, core, n_cores, 0);
    }
}

/* One row, by a team: lanes of the sum of squares (element i is in lane i % 8, each lane ascending) and the tops of parts,
 * then their values; or whole groups behind the lanes, where the row is not cut into parts. */
static void edgec_normalise_row(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_ASSUME(core < n_cores);
    edgec_parts *c = edgec_parts_of(args);
    EDGEC_KNOWN(edgec_rmsnorm_quantize_args, a, c->a);
    const edgec_cut cut = edgec_parts_known(c, a->k, a->group_size, EDGEC_GROUPS);
    /* A core that has one lane keeps its products, and quantises those elements instead of a part. */
    const uint32_t kept = cut.groups == 1u && n_cores == EDGEC_PARTS && a->k >= 2u * EDGEC_PARTS &&
                          a->k <= EDGEC_KEPT * EDGEC_PARTS;
    float v[EDGEC_KEPT];
    EDGEC_UNROLL_1
    for (uint32_t j = core; j < EDGEC_PARTS; j += n_cores) {
        const uint32_t count = (a->k + 7u - j) / 8u; /* of the lane */
        float squares = 0.0f;
        uint32_t top = 0;
        if (kept) {
            top = edgec_lane_kept(a->x + j, a->gain + j, v, count, &squares);
        } else if (!EDGEC_SELDOM(cut.groups !=
                                 1u)) { /* any part may look at any elements for the only group's top */
            if (!EDGEC_SELDOM(count == 0)) {
                top = edgec_lane(a->x + j, a->gain + j, count, &squares);
            }
        } else {
            squares = edgec_lane_squares(a->x + j, count);
            const edgec_part p = edgec_parts_at(&cut, j);
            top = p.count > 0 ? edgec_gained_top(a->x + p.begin, a->gain + p.begin, p.count) : 0u;
        }
        c->lanes[j] = squares;
        c->tops[j] = top;
    }
    hal_barrier();
    /* Numbers that are loaded take fewer bytes of code than known ones. */
    const edgec_rmsnorm_quantize_args *given = c->a;
    uint32_t doubled;
    const float r =
        edgec_rsqrt_beside(edgec_lanes_sum(c->lanes) * given->inv_k + given->eps, c->tops, &doubled);
    if (EDGEC_SELDOM(cut.groups == 0)) {
        edgec_normalise_groups(a, core, n_cores, r);
        return;
    }
    const float top = edgec_float(doubled >> 1) * r;
    float inverse = 0.0f;
    if (!EDGEC_SELDOM(cut.groups != 1u)) {
        inverse = edgec_top_inverse(top);
        a->scale[0] = top * EDGEC_ONE_127TH; /* by every core the same: shorter than to ask which one it is */
    }
    EDGEC_UNROLL_1
    for (uint32_t j = core; j < EDGEC_PARTS; j += n_cores) {
        const edgec_part p = edgec_parts_at(&cut, j);
        uint32_t sum = 0;
        if (kept) {
            sum = edgec_kept_quantize(v, a->q + j, EDGEC_PARTS, (a->k + 7u - j) / 8u, r, inverse);
        } else if (!EDGEC_SELDOM(p.count == 0)) {
            if (EDGEC_SELDOM(cut.groups != 1u)) {
                inverse = edgec_parts_inverse(&cut, c, j, r, a->scale);
            }
            sum =
                edgec_normal_quantize(a->x + p.begin, a->gain + p.begin, a->q + p.begin, p.count, r, inverse);
        }
        if (a->sums) {
            c->sums[j] = sum;
        }
    }
}

void edgec_rmsnorm_quantize(const edgec_rmsnorm_quantize_args *args, uint32_t core, uint32_t n_cores) {
    (void)core;
    (void)n_cores;
    EDGEC_KNOWN(edgec_rmsnorm_quantize_args, a, args);
    if (EDGEC_SELDOM(a->rows > 1u)) {
        hal_fork(edgec_normalise_rows, args);
        return;
    }
    edgec_parts c;
    edgec_parts_begin(&c, args, edgec_parts_cut(1, a->k, a->group_size, EDGEC_GROUPS));
    hal_fork_team(edgec_normalise_row, &c);
    const edgec_cut cut = edgec_parts_known(&c, a->k, a->group_size, EDGEC_GROUPS);
    if (a->sums && !EDGEC_SELDOM(cut.groups == 0)) {
        edgec_parts_sums(&cut, &c, a->sums);
    }
}
