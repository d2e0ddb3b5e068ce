/* Rows and heads that one core does together, for cores with XpulpV2: lanes. Each step is done for all of them before the
 * next one, so its code is fetched once, and lanes with the same keys and values share what is loaded of those: three of
 * them, or four of heads of 4 elements. They are neighbours, so a later one sees the same positions and a few more.
 */
#ifndef EDGEC_ATTENTION_LANES_XPULPV2_H
#define EDGEC_ATTENTION_LANES_XPULPV2_H

#include "attention.h"

#include "edgec_quad_xpulpv2.h"
#include "edgec_softmax_xpulpv2.h"
#include "edgec_trio_xpulpv2.h"

#define EDGEC_LANES 4u

typedef struct {
    uint32_t count;
    uint32_t unit[EDGEC_LANES];   /* row * n_heads + head */
    uint32_t length[EDGEC_LANES]; /* positions that it sees, ascending */
    uint32_t kv[EDGEC_LANES];     /* key/value head: the same one, or all have others */
    float factor[EDGEC_LANES];    /* of scores, then of p . v */
    float top[EDGEC_LANES];       /* the largest score */
    int8_t *q8;                   /* [EDGEC_LANES][head_dim] */
    float *s;                     /* [EDGEC_LANES][lds] */
    uint8_t *p;                   /* [EDGEC_LANES][lds]; of four lanes together [lds / 4][4][4] */
    uint16_t *r;                  /* [lds], of the same key/value head */
    edgec_ratios ratios;
} edgec_lanes;

EDGEC_INLINE void edgec_lanes_quantize(const edgec_attention_args *a, edgec_lanes *of) {
    const uint32_t d = a->head_dim;
    EDGEC_UNROLL_1
    for (uint32_t l = 0; l < of->count; l++) {
        const float *q = a->q + (size_t)of->unit[l] * d; /* [head_dim] */
        int32_t sum;
        of->factor[l] = edgec_quantize_under(edgec_top(q, d, 0.0f), q, of->q8 + l * d, d, &sum) * a->factor;
    }
}

/* The lanes one by one. */
EDGEC_INLINE void edgec_lanes_apart(const edgec_attention_args *a, edgec_lanes *of) {
    const uint32_t d = a->head_dim, kv = a->n_kv_heads;
    EDGEC_UNROLL_1
    for (uint32_t l = 0; l < of->count; l++) {
        const uint32_t j = of->kv[l];
        const edgec_keys keys = {(const uint8_t *)a->k + j * d, a->k_scale + j, kv * d, d, kv};
        of->top[l] =
            edgec_score_row(8, of->q8 + l * d, keys, of->factor[l], of->s + l * a->lds, of->length[l]);
    }
    EDGEC_UNROLL_1
    for (uint32_t l = 0; l < of->count; l++) {
        of->factor[l] = edgec_softmax_row(of->s + l * a->lds, of->p + l * a->lds, a->v_scale + of->kv[l], kv,
                                          of->length[l], 0, of->top[l]);
    }
    EDGEC_UNROLL_1
    for (uint32_t l = 0; l < of->count; l++) {
        edgec_mix_head(of->p + l * a->lds, a->v + of->kv[l] * d, kv * d, d, of->length[l], of->factor[l],
                       a->y + (size_t)of->unit[l] * d);
    }
}

/* Scores of positions that not all lanes see: a lane's largest one is over those that it does, and the rest become minus
 * infinity, up to a whole tile. all: positions that all see */
EDGEC_INLINE void edgec_lanes_hide(const edgec_attention_args *a, edgec_lanes *of, uint32_t all) {
    const uint32_t end = (of->length[of->count - 1u] + 3u) & ~3u;
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
            s[t] = edgec_float(0xFF800000u); /* minus infinity */
        }
        s += a->lds;
    }
}

/* p of all lanes, words of 4 positions `step` bytes apart and those of the lanes `next`; and their factors. */
EDGEC_INLINE void edgec_lanes_weigh(const edgec_attention_args *a, edgec_lanes *of, uint32_t step,
                                    uint32_t next) {
    const uint32_t tiles = (of->length[of->count - 1u] + 3u) / 4u;
    EDGEC_UNROLL_1
    for (uint32_t l = 0; l < of->count; l++) {
        edgec_ratios_of(&of->ratios, a->v_scale + of->kv[0], a->n_kv_heads, of->length[l], of->r);
        const uint32_t total =
            edgec_weigh_tiles(of->s + l * a->lds, of->r, of->p + l * next, step, tiles, of->top[l]);
        of->factor[l] = edgec_values_factor(of->ratios.scale, (float)(int32_t)total);
    }
}

/* Scores of three or four lanes of heads of 4 elements; three have the last one twice. Whether their factors allow it. */
EDGEC_INLINE int edgec_lanes_quad(const edgec_attention_args *a, edgec_lanes *of, uint32_t all,
                                  uint32_t most) {
    const uint32_t kv = a->n_kv_heads;
    edgec_quad_scores scores;
    EDGEC_UNROLL_1
    for (uint32_t l = 0; l < EDGEC_LANES; l++) {
        const uint32_t lane = edgec_p_minu(l, of->count - 1u);
        if (EDGEC_SELDOM(of->factor[lane] >= EDGEC_UP_LIMIT)) {
            return 0;
        }
        scores.q[l] = edgec_load_word(of->q8 + 4u * lane);
        scores.scale[l] = of->factor[lane] * EDGEC_UP;
    }
    scores.stride = 4u * kv;
    scores.step = 2u * kv;
    scores.lds = 4u * a->lds;
    /* Positions that not all see come first: their largest scores are not wanted. */
    uint32_t from = most > all ? all : 0u;
    scores.count = most - from;
    EDGEC_UNROLL_1
    for (;;) {
        EDGEC_UNROLL_1
        for (uint32_t l = 0; l < EDGEC_LANES; l++) {
            scores.top[l] = edgec_float(0xFF800000u); /* minus infinity */
        }
        scores.k = (const uint8_t *)a->k + 4u * (from * kv + of->kv[0]);
        scores.k_scale = a->k_scale + from * kv + of->kv[0];
        scores.s = of->s + from;
        edgec_quad_score(&scores);
        if (from == 0) {
            break;
        }
        scores.count = from;
        from = 0;
    }
    EDGEC_UNROLL_1
    for (uint32_t l = 0; l < EDGEC_LANES; l++) {
        of->top[l] = scores.top[l];
    }
    return 1;
}

/* Three lanes, or four of heads of 4 elements, with the same keys and values. Whether that was possible. */
EDGEC_INLINE int edgec_lanes_together(const edgec_attention_args *a, edgec_lanes *of) {
    const uint32_t d = a->head_dim, kv = a->n_kv_heads, j = of->kv[0];
    const uint32_t all = of->length[0], most = of->length[of->count - 1u];
    const int quad = d == 4u;
    if (quad) {
        if (!edgec_lanes_quad(a, of, all, most)) {
            return 0;
        }
    } else {
        const edgec_keys keys = {(const uint8_t *)a->k + j * d, a->k_scale + j, kv * d, d, kv};
        if (!edgec_score_trio(of->q8, &keys, of->factor, of->s, a->lds, all, most, of->top, 1)) {
            return 0;
        }
    }
    edgec_lanes_hide(a, of, all);
    edgec_lanes_weigh(a, of, quad ? 16u : 4u, quad ? 4u : a->lds);
    edgec_values values = {a->v + j * d, kv * d, 4, most};
    for (uint32_t i = 0; i < d; i += 4u) {
        union {
            edgec_quad_values of_four;
            edgec_trio_values of_three;
        } sums;
        const int32_t *acc = quad ? sums.of_four.acc : sums.of_three.acc; /* [lanes][4] */
        if (quad) {
            edgec_mix_quad(&sums.of_four, of->p, &values);
        } else {
            edgec_mix_trio(&sums.of_three, of->p, a->lds, &values);
        }
        EDGEC_UNROLL_1
        for (uint32_t l = 0; l < of->count; l++) {
            edgec_finish_row(acc + 4u * l, a->y + (size_t)of->unit[l] * d + i, 4, of->factor[l]);
        }
        values.v += 4;
    }
    return 1;
}

/* A core's rows and heads. Those with the same keys are neighbours, and their rows ascend. */
static void edgec_attention_lanes(const void *args, uint32_t core, uint32_t n_cores) {
    const edgec_attention_args *a = args;
    const uint32_t kv = a->n_kv_heads;
    const uint32_t group = kv == a->n_heads ? 1u : a->n_heads / kv, each = a->m * group;
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
    const uint32_t room = core * a->lanes;
    lanes.q8 = a->q8 + room * a->head_dim;
    lanes.s = a->s + room * a->lds;
    lanes.p = a->p + room * a->lds;
    lanes.r = a->r + core * a->lds;
    lanes.ratios.length = 0;
    while (left > 0) {
        uint32_t count = 0;
        do {
            lanes.unit[count] = row * a->n_heads + j * group + head;
            lanes.length[count] = a->pos + row + 1u;
            lanes.kv[count] = j;
            if (++head == group) {
                head = 0;
                row++;
            }
            if (row == a->m) {
                row = 0;
                j++;
            }
            count++;
            left--;
        } while (count < a->lanes && left > 0 && (row + head > 0 || each == 1u));
        lanes.count = count;
        edgec_lanes_quantize(a, &lanes);
        if (count < 3u || each == 1u || !edgec_lanes_together(a, &lanes)) {
            edgec_lanes_apart(a, &lanes);
        }
        if (row + head == 0) {
            lanes.ratios.length = 0; /* other values */
        }
    }
}

#endif
