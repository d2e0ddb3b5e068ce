/* attention: causal grouped-query attention of m new queries over the int8 cache, in four kernels, or in one.
 *
 * Row r is at position pos + r and sees positions 0 .. pos + r, or the last `window` of them. Query head h uses key/value head
 * h / (n_heads / n_kv_heads). K and V stream through memory in tiles of `count` positions from `first` on;
 * score rows (lds elements apart, lds >= pos + m) stay.
 *
 *     attention_scores   for every tile of K   s[t] = float32(q . k[t]) * ((q_scale * factor) * k_scale[t])
 *     attention_cap      where scores are capped   s to capped s
 *     attention_softmax  once                  s to weights p in 0 .. 255, and one factor a row and head
 *     attention_values   for every tile of V   acc += p[t] * v[t]
 *     attention_finish   once                  y = float32(acc) * p_scale
 *
 *     attention          all of it, where K and V are there whole
 *
 * factor = log2(e) / sqrt(head_dim), or log2(e) times another scale. Sums are over integers, so tiles of any sizes give the same bits.
 * Units of all: heads of all rows. q, k, v, p need no alignment. No two arguments overlap.
 */
#ifndef EDGEC_ATTENTION_H
#define EDGEC_ATTENTION_H

#include "edgec_kernel.h"

/* Writes positions first .. first + count - 1 of every score row, also those that a row does not see. */
typedef struct {
    const int8_t *q;         /* [m][n_heads][head_dim] */
    const float *q_scale;    /* [m][n_heads] */
    const int8_t *k;         /* [count][n_kv_heads][head_dim], the tile */
    const uint16_t *k_scale; /* [count][n_kv_heads], binary16 */
    float *s;                /* [m][n_heads][lds] */
    uint32_t m;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t first;
    uint32_t count;
    uint32_t lds;
    float factor;
} edgec_attention_scores_args;

void edgec_attention_scores(const edgec_attention_scores_args *a, uint32_t core, uint32_t n_cores);

/* s[t] = edgec_capped(s[t], cap) of the positions that a row sees: the last `window` up to pos + r, all of them where window
 * is 0. cap > 0. */
typedef struct {
    float *s; /* [m][n_heads][lds] */
    uint32_t m;
    uint32_t n_heads;
    uint32_t pos;
    uint32_t lds;
    uint32_t window;
    float cap;
} edgec_attention_cap_args;

void edgec_attention_cap(const edgec_attention_cap_args *a, uint32_t core, uint32_t n_cores);

/* Over the positions t that a row sees, all of them at once:
 *
 *     e[t] = exp2_bytes(s[t], max s), 0 .. 255       r[t] = rint(v_scale[t] * ((1 / most) * 2^15)), most = max v_scale
 *     p[t] = (e[t] * r[t] + 2^14) >> 15              p_scale = (most * (255 / float32(sum of e))) * (1/255)
 *
 * A row sees the last `window` positions up to its own, all of them where window is 0. p is 0 at the positions below
 * pos + m that it does not see. most = 0 gives p and p_scale 0. s is used up: its first pos + m elements per row hold
 * nothing of meaning afterwards. */
typedef struct {
    float *s;                /* [m][n_heads][lds] */
    const uint16_t *v_scale; /* [pos + m][n_kv_heads], binary16, >= 0 */
    uint8_t *p;              /* [m][n_heads][lds] */
    float *p_scale;          /* [m][n_heads] */
    uint32_t m;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t pos;
    uint32_t lds;
    uint32_t window;
} edgec_attention_softmax_args;

void edgec_attention_softmax(const edgec_attention_softmax_args *a, uint32_t core, uint32_t n_cores);

/* A tile with first = 0 starts the accumulators, every other one adds to them. */
typedef struct {
    const uint8_t *p; /* [m][n_heads][lds] */
    const int8_t *v;  /* [count][n_kv_heads][head_dim], the tile */
    int32_t *acc;     /* [m][n_heads][head_dim] */
    uint32_t m;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t first;
    uint32_t count;
    uint32_t lds;
} edgec_attention_values_args;

void edgec_attention_values(const edgec_attention_values_args *a, uint32_t core, uint32_t n_cores);

typedef struct {
    const int32_t *acc;   /* [m][n_heads][head_dim] */
    const float *p_scale; /* [m][n_heads] */
    float *y;             /* [m][n_heads][head_dim] */
    uint32_t m;
    uint32_t n_heads;
    uint32_t head_dim;
} edgec_attention_finish_args;

void edgec_attention_finish(const edgec_attention_finish_args *a, uint32_t core, uint32_t n_cores);

/* All of them, without a cap or a window. Directed: core 0 calls it alone.
 * s, p, r and found are room to work in, and hold nothing of meaning afterwards. Cores that run at once are at most
 * `cores`, and each of them does up to `lanes` rows and heads together: 1, or 3, or 4 instead where head_dim is 4. Rooms
 * are at least cores * lanes. Where found is given, rooms are also at least n_heads: cores may share the heads of a row. lds is
 * a multiple of 4. */
typedef struct {
    const int8_t *q;         /* [m][n_heads][head_dim] */
    const float *q_scale;    /* [m][n_heads] */
    const int8_t *k;         /* [pos + m][n_kv_heads][head_dim] */
    const uint16_t *k_scale; /* [pos + m][n_kv_heads], binary16 */
    const int8_t *v;         /* [pos + m][n_kv_heads][head_dim] */
    const uint16_t *v_scale; /* [pos + m][n_kv_heads], binary16 */
    float *s;                /* [rooms][lds] */
    uint8_t *p;              /* [rooms][lds] */
    uint16_t *r;             /* [cores][lds], or NULL where lanes is 1 */
    float *found;            /* [4][rooms][cores], or NULL */
    float *y;                /* [m][n_heads][head_dim] */
    uint32_t m;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t pos;
    uint32_t lds;
    uint32_t cores;
    uint32_t lanes;
    uint32_t rooms;
    float factor;
} edgec_attention_args;

void edgec_attention(const edgec_attention_args *a, uint32_t core, uint32_t n_cores);

#endif
