/* Rows and heads with the same keys and values that one core does together, for cores with XpulpV2: lanes. Three of them,
 * or four of heads of 4 elements, share what is loaded of keys and values. They are neighbours, so a later one sees the same
 * positions and a few more.
 */
#ifndef EDGEC_ATTENTION_LANES_XPULPV2_H
#define EDGEC_ATTENTION_LANES_XPULPV2_H

#include "attention_one_xpulpv2.h"

#include "edgec_quad_xpulpv2.h"
#include "edgec_ratios_xpulpv2.h"
#include "edgec_trio_xpulpv2.h"

#define EDGEC_LANES 4u

typedef struct {
    uint32_t count;
    uint32_t kv;                  /* key/value head */
    uint32_t unit[EDGEC_LANES];   /* row * n_heads + head */
    uint32_t length[EDGEC_LANES]; /* positions that it sees, ascending */
    float factor[EDGEC_LANES];    /* of queries their scales, then of p . v */
    float top[2u * EDGEC_LANES];  /* the largest score */
    uint32_t total[EDGEC_LANES];  /* of e */
    float most[2u * EDGEC_LANES]; /* the largest scale of values */
    float *s;                     /* [EDGEC_LANES][lds] */
    uint8_t *p;                   /* [EDGEC_LANES][lds]; of four lanes together [lds / 4][4][4] */
    uint16_t *r;                  /* [lds] */
    edgec_ratios ratios;
} edgec_lanes;

/* The lanes one by one. */
EDGEC_APART void edgec_lanes_apart(const edgec_attention_args *a, edgec_lanes *of) {
    EDGEC_UNROLL_1
    for (uint32_t l = 0; l < of->count; l++) {
        const uint32_t most = edgec_most_scale(a->v_scale + of->kv, a->n_kv_heads, of->length[l], 0);
        edgec_attend(a, of->unit[l], of->kv, of->length[l], most, of->s, of->p);
    }
}

/* Scores of positions that not all lanes see: a lane's largest one is over those that it does, and the rest become minus
 * infinity, up to a whole tile. all: positions that all see */
EDGEC_INLINE void edgec_lanes_hide(const edgec_attention_args *a, edgec_lanes *of, uint32_t all) {
    const uint32_t end = (of->length[of->count - 1u] + 3u) & ~3u;
    const float none = edgec_float(0xFF800000u); /* minus infinity */
    float *s = of->s;
    EDGEC_UNROLL_1
    for (uint32_t l = 0; l < of->count; l++) {
        uint32_t t = all;
        EDGEC_UNROLL_1
        for (; t < of->length[l]; t++) {
            of->top[l] = edgec_max(of->top[l], s[t]);
        }
        EDGEC_UNROLL_1
        for (; t < end; t++) {
            s[t] = none;
        }
        s += a->lds;
    }
}

/* Scores of lanes whose largest one lies too far out become relative to it. doubled: of the largest ones, the largest
 * number, as its bits twice: without the sign, numbers are in the order of their bits. */
EDGEC_INLINE void edgec_lanes_near(const edgec_attention_args *a, edgec_lanes *of, uint32_t doubled) {
    if (EDGEC_SELDOM(doubled > edgec_bits(EDGEC_EXP2_FARTHEST) << 1)) {
        EDGEC_UNROLL_1
        for (uint32_t l = 0; l < of->count; l++) {
            of->top[l] = edgec_near(of->s + l * a->lds, (of->length[of->count - 1u] + 3u) & ~3u, of->top[l]);
        }
    }
}

/* All of that for lanes of edgec_quad_score: first the largest scores where there is no positive one. */
EDGEC_INLINE void edgec_quad_tops(const edgec_attention_args *a, edgec_lanes *of, uint32_t all) {
    float *top = of->top;
    if (EDGEC_SELDOM((edgec_bits(top[0]) | edgec_bits(top[1]) | edgec_bits(top[2]) | edgec_bits(top[3])) >>
                     31)) {
        EDGEC_UNROLL_1
        for (uint32_t l = 0; l < EDGEC_LANES; l++) {
            if (edgec_bits(top[l]) >> 31) {
                top[l] = edgec_top_score(of->s + l * a->lds, all);
            }
        }
    }
    const uint32_t most = of->length[of->count - 1u];
    uint32_t doubled;
    if (!EDGEC_SELDOM((most ^ (all + 3u)) | (of->length[1] ^ (all + 1u)) | (most % 4u))) {
        /* Four rows of one head that end with a tile, as they mostly do. */
        const float none = edgec_float(0xFF800000u); /* minus infinity */
        const uint32_t lds = a->lds;
        float *s = of->s + all, t1 = top[1], t2 = top[2], t3 = top[3];
        s[0] = s[1] = s[2] = none;
        s += lds;
        t1 = edgec_max(t1, s[0]);
        s[1] = s[2] = none;
        s += lds;
        t2 = edgec_max(t2, edgec_max(s[0], s[1]));
        s[2] = none;
        s += lds;
        t3 = edgec_max(t3, edgec_max(edgec_max(s[0], s[1]), s[2]));
        top[1] = t1;
        top[2] = t2;
        top[3] = t3;
        doubled = edgec_p_maxu(edgec_p_maxu(edgec_bits(top[0]) << 1, edgec_bits(t1) << 1),
                               edgec_p_maxu(edgec_bits(t2) << 1, edgec_bits(t3) << 1));
    } else {
        edgec_lanes_hide(a, of, all);
        doubled = edgec_p_maxu(edgec_p_maxu(edgec_bits(top[0]) << 1, edgec_bits(top[1]) << 1),
                               edgec_p_maxu(edgec_bits(top[2]) << 1, edgec_bits(top[3]) << 1));
    }
    edgec_lanes_near(a, of, doubled);
}

/* p of all lanes, words of 4 positions `step` bytes apart and those of the lanes `next`; their totals and largest scales.
 * Returns the least total. */
EDGEC_INLINE uint32_t edgec_lanes_weigh(const edgec_attention_args *a, edgec_lanes *of, uint32_t step,
                                        uint32_t next) {
    const uint32_t last = of->length[of->count - 1u];
    edgec_weighed rows = {of->s, of->p, of->top, of->total, a->lds, step, next, (last + 3u) / 4u};
    uint32_t least = 0xFFFFFFFFu, lane = 0;
    EDGEC_UNROLL_1
    for (;;) { /* once, unless a later row has a larger scale */
        if (EDGEC_SELDOM(of->ratios.length < of->length[lane])) {
            edgec_ratios_of(&of->ratios, a->v_scale + of->kv, a->n_kv_heads, of->length[lane], a->pos + a->m,
                            of->r);
        }
        uint32_t end = of->count;
        EDGEC_UNROLL_1
        for (; EDGEC_SELDOM(of->length[end - 1u] > of->ratios.length); end--) {
        }
        float *most = of->most + lane; /* and of those behind, until they have their own */
        most[0] = most[1] = most[2] = most[3] = of->ratios.scale;
        least = edgec_weigh_tiles(&rows, of->r, end - lane, least);
        if (!EDGEC_SELDOM(end < of->count)) {
            return least;
        }
        rows.s += (end - lane) * a->lds;
        rows.p += (end - lane) * next;
        rows.top += end - lane;
        rows.total += end - lane;
        lane = end;
    }
}

/* Three or four lanes of heads of 4 elements; three have the last one twice. Whether their factors allow it. */
EDGEC_INLINE int edgec_lanes_quad(const edgec_attention_args *a, edgec_lanes *of, edgec_quad_scores *scores) {
    const uint32_t kv = a->n_kv_heads, stride = 4u * kv, j = of->kv;
    const uint32_t all = of->length[0], most = of->length[of->count - 1u];
    edgec_quad_values sums;
    uint32_t largest = 0;
    EDGEC_UNROLL_1
    for (uint32_t l = 0; l < of->count; l++) {
        const float scale = a->q_scale[of->unit[l]] * a->factor;
        scores->q[l] = edgec_load_word(a->q + 4u * of->unit[l]);
        largest = edgec_p_maxu(largest, edgec_bits(scale));
        scores->scale[l] = scale * EDGEC_UP;
    }
    if (EDGEC_SELDOM(largest >= edgec_bits(EDGEC_UP_LIMIT))) {
        return 0;
    }
    if (EDGEC_SELDOM(of->count < EDGEC_LANES)) {
        scores->q[3] = scores->q[2];
        scores->scale[3] = scores->scale[2];
    }
    if (EDGEC_SELDOM(of->ratios.length == 0)) { /* other keys */
        scores->k = (const uint8_t *)a->k + 4u * j;
        scores->stride = stride;
        scores->k_scale = a->k_scale + j;
        scores->step = 2u * kv;
        scores->s = of->s;
        scores->lds = 4u * a->lds;
        scores->top = of->top;
    }
    scores->count = all;
    scores->rest = most - all;
    edgec_quad_score(scores);
    edgec_quad_tops(a, of, all);
    const uint32_t least = edgec_lanes_weigh(a, of, 16, 4);
    edgec_mix_quad(&sums, of->p, &(edgec_values){a->v + 4u * j, stride, 4, most});
    if (!EDGEC_SELDOM(least == 0)) {
        edgec_finish_quad(of->total, of->most, sums.acc, of->unit, a->y, of->count);
        return 1;
    }
    EDGEC_UNROLL_1
    for (uint32_t l = 0; l < of->count; l++) {
        edgec_finish_four(sums.acc + 4u * l, a->y + 4u * of->unit[l],
                          edgec_values_factor(of->most[l], (float)(int32_t)of->total[l]));
    }
    return 1;
}

/* Three lanes of heads of more elements. Whether that was possible. */
EDGEC_INLINE int edgec_lanes_trio(const edgec_attention_args *a, edgec_lanes *of) {
    const uint32_t d = a->head_dim, kv = a->n_kv_heads, j = of->kv;
    const uint32_t all = of->length[0], most = of->length[2];
    const edgec_keys keys = {(const uint8_t *)a->k + j * d, a->k_scale + j, kv * d, d, kv};
    EDGEC_UNROLL_1
    for (uint32_t l = 0; l < 3u; l++) {
        of->factor[l] = a->q_scale[of->unit[l]];
    }
    edgec_trio_scores scores;
    edgec_score_trio_of(&scores, &keys, a->lds);
    edgec_score_trio_apart(&scores, d * (of->unit[1] - of->unit[0]), d * (of->unit[2] - of->unit[1]));
    if (!edgec_score_trio(&scores, a->q + of->unit[0] * d, &keys, of->factor, a->factor, of->s, all, most,
                          of->top, 1)) {
        return 0;
    }
    edgec_lanes_hide(a, of, all);
    edgec_lanes_near(a, of,
                     edgec_p_maxu(edgec_p_maxu(edgec_bits(of->top[0]) << 1, edgec_bits(of->top[1]) << 1),
                                  edgec_bits(of->top[2]) << 1));
    (void)edgec_lanes_weigh(a, of, 4, a->lds);
    EDGEC_UNROLL_1
    for (uint32_t l = 0; l < 3u; l++) {
        of->factor[l] = edgec_values_factor(of->most[l], (float)(int32_t)of->total[l]);
    }
    const uint32_t whole = most & ~3u;
    edgec_values values = {a->v + j * d, kv * d, 4, whole};
    for (uint32_t i = 0; i < d; i += 4u) {
        int32_t sums[12]; /* [3][4] */
        edgec_mix_trio(of->p, a->lds, &values, sums, 4);
        EDGEC_UNROLL_1
        for (uint32_t l = 0; l < 3u; l++) {
            edgec_mix_word(of->p + l * a->lds + whole, values.v + (size_t)whole * values.stride,
                           values.stride, most - whole, sums + 4u * l);
            edgec_finish_four(sums + 4u * l, a->y + of->unit[l] * d + i, of->factor[l]);
        }
        values.v += 4;
    }
    return 1;
}

/* A core's rows and heads. Those with the same keys are neighbours, and their rows ascend. quads: heads have 4 elements */
EDGEC_INLINE void edgec_lanes_of(const edgec_attention_args *a, uint32_t core, uint32_t n_cores, int quads) {
    const uint32_t group = a->n_kv_heads == a->n_heads ? 1u : a->n_heads / a->n_kv_heads, each = a->m * group;
    const edgec_range mine = edgec_share(a->m * a->n_heads, core, n_cores);
    uint32_t j = 0, row = 0, head = mine.begin, left = mine.end - mine.begin; /* head: of its group */
    EDGEC_UNROLL_1
    for (; head >= each; head -= each) { /* few as a rule: shorter than a division */
        j++;
    }
    EDGEC_UNROLL_1
    for (; head >= group; head -= group) {
        row++;
    }
    edgec_lanes lanes;
    edgec_quad_scores scores = {0}; /* what a head has in common: with its first rows */
    const uint32_t room = core * a->lanes;
    lanes.s = a->s + room * a->lds;
    lanes.p = a->p + room * a->lds;
    lanes.r = a->r + core * a->lds;
    lanes.ratios.length = 0;
    while (left > 0) {
        uint32_t count = 0, unit = row * a->n_heads + j * group + head, length = a->pos + row + 1u;
        lanes.kv = j;
        if (group == 1u) {
            const uint32_t most = edgec_p_minu(edgec_p_minu(a->lanes, left), a->m - row);
            EDGEC_UNROLL_1
            do {
                lanes.unit[count] = unit;
                lanes.length[count] = length++;
                unit += a->n_heads;
            } while (++count < most);
            row += count;
            left -= count;
        } else {
            do {
                lanes.unit[count] = unit;
                lanes.length[count] = length;
                count++;
                left--;
                unit++;
                if (++head == group) {
                    head = 0;
                    unit += a->n_heads - group;
                    length++;
                    row++;
                }
            } while (count < a->lanes && left > 0 && row < a->m);
        }
        lanes.count = count;
        int done = 0;
        if (count >= 3u) {
            done = quads ? edgec_lanes_quad(a, &lanes, &scores) : edgec_lanes_trio(a, &lanes);
        }
        if (!done) {
            edgec_lanes_apart(a, &lanes);
        }
        if (row == a->m) {
            row = 0;
            j++;
            lanes.ratios.length = 0; /* other values */
        }
    }
}

static void edgec_attention_lanes(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_KNOWN(edgec_attention_args, a, args);
    edgec_lanes_of(a, core, n_cores, 0);
}

static void edgec_attention_quads(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_KNOWN(edgec_attention_args, a, args);
    edgec_lanes_of(a, core, n_cores, 1);
}

#endif
