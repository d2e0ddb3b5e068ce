/* sample at a temperature, by one core. */
#include "sample.h"

#include "edgec_math.h"

/* Bins of one histogram: weights 0 .. 32768 in steps of 1024, then of 32, then of 1. */
#define EDGEC_SAMPLE_BINS 33u

/* The logits and what turns them into weights. */
typedef struct {
    const float *logits; /* [n] */
    uint32_t n;
    float top;
    float slope;
} edgec_sample_source;

/* A prefix of the candidates in their order: all of weight > e, and the first `ties` by index of weight e. */
typedef struct {
    uint32_t e;
    uint32_t ties;
    uint64_t total; /* their weight */
} edgec_sample_prefix;

static inline uint32_t edgec_sample_weight(const edgec_sample_source *source, uint32_t i) {
    const float d = (source->logits[i] - source->top) * source->slope;
    return edgec_exp2_q15(edgec_rint_i32(edgec_max(d, -65536.0f)));
}

static edgec_sample_prefix edgec_sample_all(const edgec_sample_source *source) {
    edgec_sample_prefix all = {0, source->n, 0};
    for (uint32_t i = 0; i < source->n; i++) {
        all.total += edgec_sample_weight(source, i);
    }
    return all;
}

/* The shortest prefix with `count` candidates or of weight `total`, whichever comes first; there is one. */
static edgec_sample_prefix edgec_sample_find(const edgec_sample_source *source, uint32_t count,
                                             uint64_t total) {
    uint32_t low = 0; /* the prefix's last weight is in low .. low + bins * step - 1 */
    uint32_t bins = EDGEC_SAMPLE_BINS;
    uint32_t above_count = 0; /* of the candidates beyond that range */
    uint64_t above_total = 0;
    uint32_t shift = 10; /* step = 1 << shift */
    for (;;) {
        uint32_t counts[EDGEC_SAMPLE_BINS] = {0};
        uint64_t totals[EDGEC_SAMPLE_BINS] = {0};
        for (uint32_t i = 0; i < source->n; i++) {
            const uint32_t e = edgec_sample_weight(source, i);
            const uint32_t bin = (e - low) >> shift; /* wraps to a large number below the range */
            if (bin < bins) {
                counts[bin]++;
                totals[bin] += e;
            }
        }
        uint32_t bin = bins - 1u;
        while (bin > 0 && above_count + counts[bin] < count && above_total + totals[bin] < total) {
            above_count += counts[bin];
            above_total += totals[bin];
            bin--;
        }
        low += bin << shift;
        if (shift == 0) {
            break;
        }
        shift -= 5;
        bins = 32;
    }
    edgec_sample_prefix prefix = {low, 0, above_total};
    while (above_count + prefix.ties < count && prefix.total < total) {
        prefix.ties++;
        prefix.total += low;
    }
    return prefix;
}

/* One 32-bit PCG32 output; the state in params advances. */
static uint32_t edgec_sample_draw(int32_t *params) {
    const uint64_t state =
        (uint64_t)(uint32_t)params[EDGEC_SAMPLE_STATE_HIGH] << 32 | (uint32_t)params[EDGEC_SAMPLE_STATE_LOW];
    const uint64_t next = state * 6364136223846793005u + 1442695040888963407u;
    params[EDGEC_SAMPLE_STATE_LOW] = (int32_t)(uint32_t)next;
    params[EDGEC_SAMPLE_STATE_HIGH] = (int32_t)(uint32_t)(next >> 32);
    const uint32_t word = (uint32_t)(((state >> 18) ^ state) >> 27);
    const uint32_t turn = (uint32_t)(state >> 59);
    return word >> turn | word << ((32u - turn) & 31u);
}

/* The first candidate of the prefix, in index order, whose cumulative weight exceeds a random part of it. */
static uint32_t edgec_sample_take(const edgec_sample_source *source, edgec_sample_prefix prefix,
                                  uint32_t draw) {
    /* (draw * total) >> 32 in two halves: the product may have more than 64 bits. */
    const uint64_t threshold =
        (uint64_t)draw * (prefix.total >> 32) + ((uint64_t)draw * (uint32_t)prefix.total >> 32);
    uint64_t running = 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < source->n && running <= threshold; i++) {
        const uint32_t e = edgec_sample_weight(source, i);
        if (e > prefix.e || (e == prefix.e && prefix.ties > 0)) {
            prefix.ties -= e == prefix.e ? 1u : 0u;
            running += e;
            last = i;
        }
    }
    return last;
}

uint32_t edgec_sample_drawn(const edgec_sample_args *a, uint32_t best) {
    const float temperature = edgec_float((uint32_t)a->params[EDGEC_SAMPLE_TEMPERATURE]);
    const edgec_sample_source source = {a->logits, a->n, a->logits[best],
                                        (EDGEC_LOG2E / temperature) * 4096.0f};
    const int32_t top_k = a->params[EDGEC_SAMPLE_TOP_K];
    const float top_p = edgec_float((uint32_t)a->params[EDGEC_SAMPLE_TOP_P]);

    edgec_sample_prefix prefix = top_k > 0 && (uint32_t)top_k < a->n
                                     ? edgec_sample_find(&source, (uint32_t)top_k, UINT64_MAX)
                                     : edgec_sample_all(&source);
    /* top_p as a 16-bit fraction; its share of the weight, rounded up, is at least one candidate's. At 1 only
     * candidates of weight 0, which no draw takes, would be left out. */
    const int32_t parts = edgec_rint_i32(top_p * 65536.0f);
    if (parts < 65536) {
        const uint64_t wanted = (prefix.total * (uint32_t)(parts > 0 ? parts : 0) + 65535u) >> 16;
        prefix = edgec_sample_find(&source, UINT32_MAX, wanted > 0 ? wanted : 1u);
    }
    return edgec_sample_take(&source, prefix, edgec_sample_draw(a->params));
}
