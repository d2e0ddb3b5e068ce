/* The kernel of rmsnorm_quantize.h for cores with XpulpV2. */
#include "rmsnorm_quantize.h"

#include "edgec_parts_xpulpv2.h"

#define EDGEC_GROUPS 4u /* that a row in parts has at most */

/* max |x * gain|, doubled: bits without the sign, in whose order numbers are. Times r, which is positive, it is the largest
 * of the products with r. x, gain: [count], at least 1 */
EDGEC_INLINE uint32_t edgec_gained_top(const float *x, const float *gain, uint32_t count) {
    uint32_t top = 0;
#if defined(EDGEC_PULP_FLOAT)
    uint32_t a, b;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[count]", "6",
            EDGEC_P_LW("%[a]", "4", "%[x]")
            EDGEC_P_LW("%[b]", "4", "%[gain]")
            "nop\n\t"
            "fmul.s %[a], %[a], %[b]\n\t"
            "slli %[a], %[a], 1\n\t"
            EDGEC_P_MAXU("%[top]", "%[top]", "%[a]"))
        : [x] "+r"(x), [gain] "+r"(gain), [top] "+r"(top), [a] "=&r"(a), [b] "=&r"(b)
        : [count] "r"(count)
        : "memory");
    /* clang-format on */
#else
    for (; count > 0; count--) {
        top = edgec_p_maxu(top, edgec_bits(*x++ * *gain++) << 1);
    }
#endif
    return top;
}

/* rint(((x * gain) * r) * inverse) to q; returns the sum. x, gain, q: [count], at least 1 */
EDGEC_INLINE uint32_t edgec_normal_quantize(const float *x, const float *gain, int8_t *q, uint32_t count,
                                            float r, float inverse) {
    uint32_t total = 0;
#if defined(EDGEC_PULP_FLOAT)
    if (!EDGEC_SELDOM(count < 2u)) {
        uint32_t a, b, last, magic, one;
        /* A float instruction every other time: two cores share a unit, and take turns. So an element is begun while the
         * one before is finished. */
        /* clang-format off */
        __asm__ volatile(
            EDGEC_P_LW("%[a]", "4", "%[x]")
            EDGEC_P_LW("%[b]", "4", "%[gain]")
            "lui %[magic], %[magic_] >> 12\n\t"
            "fmul.s %[last], %[a], %[b]\n\t"
            "li %[one], 1\n\t"
            "fmul.s %[last], %[last], %[r]\n\t"
            EDGEC_HWLOOP("0", "%[others]", "8",
                EDGEC_P_LW("%[a]", "4", "%[x]")
                "fmul.s %[last], %[last], %[inverse]\n\t"
                EDGEC_P_LW("%[b]", "4", "%[gain]")
                "fadd.s %[last], %[last], %[magic]\n\t"
                EDGEC_PV_SDOTSP_B("%[total]", "%[last]", "%[one]") /* the low byte */
                "fmul.s %[a], %[a], %[b]\n\t"
                EDGEC_P_SB("%[last]", "1", "%[q]")
                "fmul.s %[last], %[a], %[r]\n\t")
            "fmul.s %[last], %[last], %[inverse]\n\t"
            "fadd.s %[last], %[last], %[magic]\n\t"
            EDGEC_PV_SDOTSP_B("%[total]", "%[last]", "%[one]")
            EDGEC_P_SB("%[last]", "1", "%[q]")
            : [x] "+r"(x), [gain] "+r"(gain), [q] "+r"(q), [total] "+r"(total), [a] "=&r"(a), [b] "=&r"(b),
              [last] "=&r"(last), [magic] "=&r"(magic), [one] "=&r"(one)
            : [others] "r"(count - 1u), [r] "r"(r), [inverse] "r"(inverse), [magic_] "i"(EDGEC_MAGIC_BITS)
            : "memory");
        /* clang-format on */
        return total;
    }
#endif
    EDGEC_UNROLL_1
    for (; count > 0; count--) {
        const int8_t value = (int8_t)edgec_rint_i32(((*x++ * *gain++) * r) * inverse);
        *q++ = value;
        total += (uint32_t)(int32_t)value;
    }
    return total;
}

/* Of every 8th of x the sum of squares, ascending, and as edgec_gained_top the largest with its gain. count: at least 1 */
EDGEC_INLINE uint32_t edgec_lane(const float *x, const float *gain, uint32_t count, float *squares) {
    uint32_t top = 0;
    float sum = 0.0f;
#if defined(EDGEC_PULP_FLOAT)
    uint32_t a, b, c, product = 0;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[count]", "7", /* two cores share a float unit: they take turns */
            EDGEC_P_LW("%[a]", "32", "%[x]")
            EDGEC_P_LW("%[b]", "32", "%[gain]")
            "fmul.s %[c], %[a], %[a]\n\t"
            EDGEC_P_MAXU("%[top]", "%[top]", "%[product]") /* of the element before */
            "fmul.s %[product], %[a], %[b]\n\t"
            "slli %[product], %[product], 1\n\t"
            "fadd.s %[sum], %[sum], %[c]\n\t")
        EDGEC_P_MAXU("%[top]", "%[top]", "%[product]")
        : [x] "+r"(x), [gain] "+r"(gain), [top] "+r"(top), [sum] "+r"(sum), [product] "+r"(product), [a] "=&r"(a),
          [b] "=&r"(b), [c] "=&r"(c)
        : [count] "r"(count)
        : "memory");
    /* clang-format on */
#else
    for (; count > 0; count--) {
        top = edgec_p_maxu(top, edgec_bits(*x * *gain) << 1);
        sum += *x * *x;
        x += 8;
        gain += 8;
    }
#endif
    *squares = sum;
    return top;
}

/* The sum of squares of every 8th of x, ascending. */
EDGEC_INLINE float edgec_lane_squares(const float *x, uint32_t count) {
    float sum = 0.0f;
#if defined(EDGEC_PULP_FLOAT)
    if (count > 0) {
        uint32_t a;
        /* clang-format off */
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[count]", "3",
                EDGEC_P_LW("%[a]", "32", "%[x]")
                "fmul.s %[a], %[a], %[a]\n\t"
                "fadd.s %[sum], %[sum], %[a]\n\t")
            : [x] "+r"(x), [sum] "+r"(sum), [a] "=&r"(a)
            : [count] "r"(count)
            : "memory");
        /* clang-format on */
    }
#else
    for (; count > 0; count--) {
        sum += *x * *x;
        x += 8;
    }
#endif
    return sum;
}

/* The sum of the lanes as edgec_sum_squares adds them. */
EDGEC_INLINE float edgec_lanes_sum(const float *lane) {
    float s[4];
    for (uint32_t j = 0; j < 4u; j++) {
        s[j] = lane[j] + lane[j + 4u];
    }
    return (s[0] + s[2]) + (s[1] + s[3]);
}

/* edgec_rsqrt, and the largest of tops [8]: two cores share a float unit, so every other instruction is of another kind. */
EDGEC_INLINE float edgec_rsqrt_beside(float x, const uint32_t *tops, uint32_t *top) {
    uint32_t highest = edgec_p_maxu(tops[0], tops[1]);
#if defined(EDGEC_PULP_FLOAT)
    float y = edgec_float(0x5F3759DFu - (edgec_bits(x) >> 1)), t;
    const float half = 0.5f * x;
    const uint32_t *at = tops + 2;
    uint32_t a, b;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP_I("0", "3", "8",
            "fmul.s %[t], %[half], %[y]\n\t"
            EDGEC_P_LW("%[a]", "4", "%[at]")
            "fmul.s %[t], %[t], %[y]\n\t"
            EDGEC_P_LW("%[b]", "4", "%[at]")
            "fsub.s %[t], %[c], %[t]\n\t"
            EDGEC_P_MAXU("%[top]", "%[top]", "%[a]")
            "fmul.s %[y], %[y], %[t]\n\t"
            EDGEC_P_MAXU("%[top]", "%[top]", "%[b]"))
        : [y] "+r"(y), [t] "=&r"(t), [at] "+r"(at), [top] "+r"(highest), [a] "=&r"(a), [b] "=&r"(b)
        : [half] "r"(half), [c] "r"(1.5f)
        : "memory");
    /* clang-format on */
    *top = highest;
    return y;
#else
    for (uint32_t j = 2; j < 8u; j++) {
        highest = edgec_p_maxu(highest, tops[j]);
    }
    *top = highest;
    return edgec_rsqrt(x);
#endif
}

/* edgec_sum_squares of x [k], and as edgec_gained_top the largest with its gain. k: at least 1 */
EDGEC_INLINE float edgec_gained_squares(const float *x, const float *gain, uint32_t k, uint32_t *top) {
    float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f, s4 = 0.0f, s5 = 0.0f, s6 = 0.0f, s7 = 0.0f;
    uint32_t highest = 0;
#if defined(EDGEC_PULP_FLOAT)
    if (!EDGEC_SELDOM(k < 8u)) {
        uint32_t a, b, c, product = 0;
        /* One element, in its lane; as in edgec_lane. */
        /* clang-format off */
#define EDGEC_SQUARE(lane)                            \
    EDGEC_P_LW("%[a]", "4", "%[x]")                   \
    EDGEC_P_LW("%[b]", "4", "%[gain]")                \
    "fmul.s %[c], %[a], %[a]\n\t"                     \
    EDGEC_P_MAXU("%[top]", "%[top]", "%[product]")    \
    "fmul.s %[product], %[a], %[b]\n\t"               \
    "slli %[product], %[product], 1\n\t"              \
    "fadd.s " lane ", " lane ", %[c]\n\t"
        __asm__ volatile(
            EDGEC_HWLOOP("0", "%[eights]", "56",
                EDGEC_SQUARE("%[s0]") EDGEC_SQUARE("%[s1]") EDGEC_SQUARE("%[s2]") EDGEC_SQUARE("%[s3]")
                EDGEC_SQUARE("%[s4]") EDGEC_SQUARE("%[s5]") EDGEC_SQUARE("%[s6]") EDGEC_SQUARE("%[s7]"))
            EDGEC_P_MAXU("%[top]", "%[top]", "%[product]")
            : [x] "+r"(x), [gain] "+r"(gain), [top] "+r"(highest), [product] "+r"(product), [s0] "+r"(s0),
              [s1] "+r"(s1), [s2] "+r"(s2), [s3] "+r"(s3), [s4] "+r"(s4), [s5] "+r"(s5), [s6] "+r"(s6),
              [s7] "+r"(s7), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c)
            : [eights] "r"(k / 8u)
            : "memory");
        /* clang-format on */
#undef EDGEC_SQUARE
        k %= 8u;
    }
#endif
    if (EDGEC_SELDOM(k > 0)) {
        float lane[8] = {s0, s1, s2, s3, s4, s5, s6, s7};
        EDGEC_UNROLL_1
        for (uint32_t i = 0; i < k; i++) {
            lane[i % 8u] += x[i] * x[i];
            highest = edgec_p_maxu(highest, edgec_bits(x[i] * gain[i]) << 1);
        }
        s0 = lane[0], s1 = lane[1], s2 = lane[2], s3 = lane[3];
        s4 = lane[4], s5 = lane[5], s6 = lane[6], s7 = lane[7];
    }
    *top = highest;
    return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7));
}

/* One group whose top is that of edgec_gained_top. x, gain, q: [count]; sum: NULL if nobody wants it */
EDGEC_INLINE void edgec_normalise_group(const float *x, const float *gain, int8_t *q, uint32_t count, float r,
                                        uint32_t doubled, float *scale, int32_t *sum) {
    const float top = edgec_float(doubled >> 1) * r;
    const float inverse = EDGEC_SELDOM(edgec_bits(top) == 0) ? 0.0f : edgec_quotient(127.0f, top);
    *scale = top * EDGEC_ONE_127TH;
    const uint32_t total = edgec_normal_quantize(x, gain, q, count, r, inverse);
    if (sum) {
        *sum = (int32_t)total;
    }
}

/* Several rows that are one group each, whole. */
EDGEC_INLINE void edgec_normalise_whole(const edgec_rmsnorm_quantize_args *a, uint32_t core,
                                        uint32_t n_cores) {
    const uint32_t k = a->k;
    const edgec_range mine = edgec_share(a->rows, core, n_cores);
    const float *x = a->x + (size_t)mine.begin * k; /* [k] */
    int8_t *q = a->q + (size_t)mine.begin * k;      /* [k] */
    EDGEC_UNROLL_1
    for (uint32_t row = mine.begin; row < mine.end; row++) {
        uint32_t doubled;
        const float r = edgec_rsqrt_steps(edgec_gained_squares(x, a->gain, k, &doubled) * a->inv_k + a->eps);
        edgec_normalise_group(x, a->gain, q, k, r, doubled, &a->scale[row], a->sums ? &a->sums[row] : NULL);
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
    if (a->k > a->group_size) {
        edgec_normalise_groups(a, core, n_cores, 0.0f);
    } else {
        edgec_normalise_whole(a, core, n_cores);
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
    EDGEC_UNROLL_1
    for (uint32_t j = core; j < EDGEC_PARTS; j += n_cores) {
        const uint32_t count = (a->k + 7u - j) / 8u; /* of the lane */
        float squares = 0.0f;
        uint32_t top = 0;
        if (!EDGEC_SELDOM(cut.groups !=
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
        inverse = EDGEC_SELDOM(edgec_bits(top) == 0) ? 0.0f : edgec_quotient(127.0f, top);
        a->scale[0] = top * EDGEC_ONE_127TH; /* by every core the same: shorter than to ask which one it is */
    }
    EDGEC_UNROLL_1
    for (uint32_t j = core; j < EDGEC_PARTS; j += n_cores) {
        const edgec_part p = edgec_parts_at(&cut, j);
        uint32_t sum = 0;
        if (!EDGEC_SELDOM(p.count == 0)) {
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
