/* One row quantised by all cores, for cores with XpulpV2: what a directed kernel does where there are few groups.
 *
 * The row is cut into 8 parts, whatever the number of cores; a group is 8, 4, 2 or 1 of them. The cores work as a team
 * (edgec_fork.h): each leaves the top of its parts, all wait once, and each then finds the scale of its group by itself:
 * that is shorter than to wait for one core that does it for all. The sums of the parts are added up behind the fork.
 *
 * Maxima and sums of integers do not depend on the order.
 */
#ifndef EDGEC_PARTS_XPULPV2_H
#define EDGEC_PARTS_XPULPV2_H

#include "edgec_fork.h"
#include "edgec_rows_xpulpv2.h"

#define EDGEC_PARTS 8u

/* How a row is cut. */
typedef struct {
    uint32_t k;
    uint32_t share;  /* elements of a part, an even number; the last parts may have fewer or none */
    uint32_t log;    /* a group has 1 << log parts */
    uint32_t groups; /* at least 1; 0: the row is not cut */
} edgec_cut;

typedef struct {
    const void *a; /* the kernel's arguments */
    edgec_cut cut;
    /* Of each part. What the cores exchange has a place of its own, for a core may still read the last one. */
    float lanes[EDGEC_PARTS];   /* of a row that is normalised: a lane of its sum of squares */
    uint32_t tops[EDGEC_PARTS]; /* the bits without the sign, doubled, of max |x| */
    uint32_t sums[EDGEC_PARTS]; /* of what it is quantised to */
} edgec_parts;

/* Elements begin .. begin + count - 1 of the row. */
typedef struct {
    uint32_t begin;
    uint32_t count;
} edgec_part;

/* Cuts rows of k elements in groups of `size` if they are one row of at most `most` groups, in parts of pairs: with more
 * groups cores rather take whole ones. most: at most 8 */
EDGEC_INLINE edgec_cut edgec_parts_cut(uint32_t rows, uint32_t k, uint32_t size, uint32_t most) {
    const edgec_cut none = {k, 0, 0, 0};
    uint32_t log = 3, groups = 1, share = (k + 31u) / 32u * 4u;
    if (EDGEC_SELDOM(rows > 1u || k % 2u)) {
        return none;
    }
    if (EDGEC_SELDOM(k > size)) {
        if (k > most * size) {
            return none;
        }
        EDGEC_UNROLL_1
        for (uint32_t reach = size; reach < k; reach += reach) {
            log--;
        }
        EDGEC_UNROLL_1
        for (uint32_t reach = size; reach < k; reach += size) {
            groups++;
        }
        share = size >> log;
        if (size & ((2u << log) - 1u)) {
            return none;
        }
    }
    return (edgec_cut){k, share, log, groups};
}

/* How the team's row of k elements in groups of `size` is cut: as core 0 found, or, where the shape is known when the
 * kernel is compiled, found there. most: as core 0 gave it */
EDGEC_INLINE edgec_cut edgec_parts_known(const edgec_parts *c, uint32_t k, uint32_t size, uint32_t most) {
#if defined(EDGEC_FIXED)
    (void)c;
    return edgec_parts_cut(1, k, size, most);
#else
    (void)k, (void)size, (void)most;
    return c->cut;
#endif
}

/* What a directed kernel, cut as edgec_parts_known will say, gives its team. */
EDGEC_INLINE void edgec_parts_begin(edgec_parts *c, const void *args, edgec_cut cut) {
    c->a = args;
#if defined(EDGEC_FIXED)
    (void)cut;
#else
    c->cut = cut;
#endif
}

EDGEC_INLINE edgec_part edgec_parts_at(const edgec_cut *cut, uint32_t j) {
#if defined(                                                                                                 \
    EDGEC_FIXED) /* where the shape is known, it is known too whether there may be parts without elements */
    if ((EDGEC_PARTS - 1u) * cut->share < cut->k) {
        const uint32_t at = j * cut->share;
        if (EDGEC_PARTS * cut->share == cut->k) {
            return (edgec_part){at, cut->share};
        }
        const uint32_t left = edgec_p_minu(cut->share, cut->k - at);
        EDGEC_ASSUME(left >= 2u); /* parts are pairs */
        return (edgec_part){at, left};
    }
#endif
    const uint32_t begin = edgec_p_minu(j * cut->share, cut->k);
    return (edgec_part){begin, edgec_p_minu(cut->share, cut->k - begin)};
}

/* What the team is given. It is written to: each part's number to a word of its own. */
EDGEC_INLINE edgec_parts *edgec_parts_of(const void *args) {
    return (edgec_parts *)(uintptr_t)args;
}

/* The bits without the sign, doubled, of max |x|. x: [count], count even */
EDGEC_INLINE uint32_t edgec_parts_top(const float *x, uint32_t count) {
    uint32_t top = 0;
#if defined(EDGEC_PULP_FLOAT)
    if (count > 0) {
        uint32_t a, b;
        /* clang-format off */
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[pairs]", "6",
                EDGEC_P_LW("%[a]", "4", "%[x]")
                EDGEC_P_LW("%[b]", "4", "%[x]")
                "slli %[a], %[a], 1\n\t"
                "slli %[b], %[b], 1\n\t"
                EDGEC_P_MAXU("%[top]", "%[top]", "%[a]")
                EDGEC_P_MAXU("%[top]", "%[top]", "%[b]"))
            : [x] "+r"(x), [top] "+r"(top), [a] "=&r"(a), [b] "=&r"(b)
            : [pairs] "r"(count / 2u)
            : "memory");
        /* clang-format on */
    }
#else
    for (uint32_t pairs = count / 2u; pairs > 0; pairs--) { /* as the loop above: an odd count would show */
        top = edgec_p_maxu(top, edgec_bits(*x++) << 1);
        top = edgec_p_maxu(top, edgec_bits(*x++) << 1);
    }
#endif
    return top;
}

/* rint(x * inverse) to q; returns their sum. x, q: [count], count even and not 0 */
EDGEC_INLINE uint32_t edgec_parts_values(const float *x, int8_t *q, uint32_t count, float inverse) {
    int32_t sum = 0;
#if defined(EDGEC_PULP_FLOAT)
    {
        uint32_t a, b, last, magic, one;
        /* Two cores share a float unit and take turns: between its instructions are others, so one element is begun while
         * the one before is finished. */
        /* clang-format off */
        __asm__ volatile(
            EDGEC_P_LW("%[a]", "4", "%[x]")
            "lui %[magic], %[magic_] >> 12\n\t"
            "fmul.s %[b], %[a], %[inverse]\n\t"
            "li %[one], 1\n\t"
            EDGEC_HWLOOP("0", "%[others]", "5",
                "fadd.s %[last], %[b], %[magic]\n\t"
                EDGEC_P_LW("%[a]", "4", "%[x]")
                EDGEC_P_SB("%[last]", "1", "%[q]")
                "fmul.s %[b], %[a], %[inverse]\n\t"
                EDGEC_PV_SDOTSP_B("%[sum]", "%[last]", "%[one]")) /* the low byte */
            "fadd.s %[last], %[b], %[magic]\n\t"
            EDGEC_PV_SDOTSP_B("%[sum]", "%[last]", "%[one]")
            EDGEC_P_SB("%[last]", "1", "%[q]")
            : [x] "+r"(x), [q] "+r"(q), [sum] "+r"(sum), [a] "=&r"(a), [b] "=&r"(b), [last] "=&r"(last),
              [magic] "=&r"(magic), [one] "=&r"(one)
            : [others] "r"(count - 1u), [inverse] "r"(inverse), [magic_] "i"(EDGEC_MAGIC_BITS)
            : "memory");
        /* clang-format on */
    }
#else
    for (count = count / 2u * 2u; count > 0; count--) {
        const int8_t value = (int8_t)edgec_rint_i32(*x++ * inverse);
        *q++ = value;
        sum += value;
    }
#endif
    return (uint32_t)sum;
}

/* The largest of `each` tops, at least one, as a number. */
EDGEC_INLINE float edgec_tops_top(const uint32_t *tops, uint32_t each) {
    uint32_t doubled = 0;
#if defined(EDGEC_PULP_FLOAT)
    EDGEC_FOLD(EDGEC_P_MAXU("%[total]", "%[total]", "%[a]"), doubled, tops, each);
#else
    for (; each > 0; each--) {
        doubled = edgec_p_maxu(doubled, *tops++);
    }
#endif
    return edgec_float(doubled >> 1);
}

/* That of the group that part j belongs to, whose parts' tops are to be multiplied by r > 0; the first part's core
 * writes the group's scale. */
EDGEC_INLINE float edgec_parts_inverse(const edgec_cut *cut, const edgec_parts *c, uint32_t j, float r,
                                       float *scale) {
    const uint32_t group = j >> cut->log;
    const uint32_t *tops = c->tops + (group << cut->log);
    const float top = edgec_tops_top(tops, 1u << cut->log) * r;
    if (tops == c->tops + j) {
        scale[group] = top * EDGEC_ONE_127TH;
    }
    return edgec_top_inverse(top);
}

/* A core's parts of the row x quantised to q, when the tops of all parts are there. */
EDGEC_INLINE void edgec_parts_under_tops(const edgec_cut *cut, edgec_parts *c, const float *x, int8_t *q,
                                         float *scale, uint32_t core, uint32_t n_cores) {
    EDGEC_UNROLL_1
    for (uint32_t j = core; j < EDGEC_PARTS; j += n_cores) {
        const edgec_part p = edgec_parts_at(cut, j);
        uint32_t sum = 0;
        if (!EDGEC_SELDOM(p.count == 0)) { /* may lie behind the last group */
            sum = edgec_parts_values(x + p.begin, q + p.begin, p.count,
                                     edgec_parts_inverse(cut, c, j, 1.0f, scale));
        }
        c->sums[j] = sum;
    }
}

/* A core's part in quantising the row x to q: tops, then values. */
EDGEC_INLINE void edgec_parts_quantize(const edgec_cut *cut, edgec_parts *c, const float *x, int8_t *q,
                                       float *scale, uint32_t core, uint32_t n_cores) {
    EDGEC_UNROLL_1
    for (uint32_t j = core; j < EDGEC_PARTS; j += n_cores) {
        const edgec_part p = edgec_parts_at(cut, j);
        c->tops[j] = edgec_parts_top(x + p.begin, p.count);
    }
    hal_barrier();
    edgec_parts_under_tops(cut, c, x, q, scale, core, n_cores);
}

/* Of every group the sum, by core 0 behind the fork. */
EDGEC_INLINE void edgec_parts_sums(const edgec_cut *cut, const edgec_parts *c, int32_t *sums) {
    const uint32_t *part = c->sums;
    uint32_t groups = cut->groups;
    EDGEC_UNROLL_1
    do {
        uint32_t each = 1u << cut->log, sum = 0;
#if defined(EDGEC_PULP_FLOAT)
        EDGEC_FOLD("add %[total], %[total], %[a]\n\t", sum, part, each);
#else
        for (; each > 0; each--) {
            sum += *part++;
        }
#endif
        *sums++ = (int32_t)sum;
    } while (--groups > 0);
}

#endif
