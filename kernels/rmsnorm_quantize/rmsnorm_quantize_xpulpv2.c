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
EDGEC_INLINE int32_t edgec_normal_quantize(const float *x, const float *gain, int8_t *q, uint32_t count,
                                           float r, float inverse) {
#if defined(EDGEC_PULP_FLOAT)
    uint32_t a, b, magic, one;
    int32_t total = 0;
    /* clang-format off */
    __asm__ volatile(
        "lui %[magic], %[magic_] >> 12\n\t"
        "li %[one], 1\n\t"
        EDGEC_HWLOOP("0", "%[count]", "8",
            EDGEC_P_LW("%[a]", "4", "%[x]")
            EDGEC_P_LW("%[b]", "4", "%[gain]")
            "fmul.s %[a], %[a], %[b]\n\t"
            "fmul.s %[a], %[a], %[r]\n\t"
            "fmul.s %[a], %[a], %[inverse]\n\t"
            "fadd.s %[a], %[a], %[magic]\n\t"
            EDGEC_PV_SDOTSP_B("%[total]", "%[a]", "%[one]") /* the low byte */
            EDGEC_P_SB("%[a]", "1", "%[q]"))
        : [x] "+r"(x), [gain] "+r"(gain), [q] "+r"(q), [total] "+r"(total), [a] "=&r"(a), [b] "=&r"(b),
          [magic] "=&r"(magic), [one] "=&r"(one)
        : [count] "r"(count), [r] "r"(r), [inverse] "r"(inverse), [magic_] "i"(EDGEC_MAGIC_BITS)
        : "memory");
    /* clang-format on */
#else
    int32_t total = 0;
    for (; count > 0; count--) {
        const int8_t value = (int8_t)edgec_rint_i32(((*x++ * *gain++) * r) * inverse);
        *q++ = value;
        total += value;
    }
#endif
    return total;
}

/* rint(((x * gain) * r) * inverse) to q, returns the sum. x, gain, q: [count], count even and not 0 */
EDGEC_INLINE uint32_t edgec_normal_pairs(const float *x, const float *gain, int8_t *q, uint32_t count,
                                         float r, float inverse) {
#if defined(EDGEC_PULP_FLOAT)
    uint32_t a, b, c, d, bytes = 0, total = 0, magic, ones;
    /* clang-format off */
    __asm__ volatile(
        "lui %[magic], %[magic_] >> 12\n\t"
        "li %[ones], 0x0101\n\t"
        EDGEC_HWLOOP("0", "%[pairs]", "15", /* two cores share a float unit: they take turns */
            EDGEC_P_LW("%[a]", "4", "%[x]")
            EDGEC_P_LW("%[b]", "4", "%[gain]")
            EDGEC_P_LW("%[c]", "4", "%[x]")
            "fmul.s %[a], %[a], %[b]\n\t"
            EDGEC_P_LW("%[d]", "4", "%[gain]")
            "fmul.s %[a], %[a], %[r]\n\t"
            EDGEC_PV_SDOTSP_B("%[total]", "%[bytes]", "%[ones]") /* of the pair before */
            "fmul.s %[c], %[c], %[d]\n\t"
            "fmul.s %[a], %[a], %[inverse]\n\t"
            "fmul.s %[c], %[c], %[r]\n\t"
            "fadd.s %[a], %[a], %[magic]\n\t"
            "fmul.s %[c], %[c], %[inverse]\n\t"
            "fadd.s %[c], %[c], %[magic]\n\t"
            EDGEC_PV_PACKLO_B("%[bytes]", "%[c]", "%[a]")
            EDGEC_P_SH("%[bytes]", "2", "%[q]"))
        EDGEC_PV_SDOTSP_B("%[total]", "%[bytes]", "%[ones]")
        : [x] "+r"(x), [gain] "+r"(gain), [q] "+r"(q), [total] "+r"(total), [bytes] "+r"(bytes), [a] "=&r"(a),
          [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [magic] "=&r"(magic), [ones] "=&r"(ones)
        : [pairs] "r"(count / 2u), [r] "r"(r), [inverse] "r"(inverse), [magic_] "i"(EDGEC_MAGIC_BITS)
        : "memory");
    /* clang-format on */
    return total;
#else
    return (uint32_t)edgec_normal_quantize(x, gain, q, count / 2u * 2u, r, inverse);
#endif
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
EDGEC_INLINE float edgec_lanes_sum(const uint32_t *lane) {
    float s[4];
    for (uint32_t j = 0; j < 4u; j++) {
        s[j] = edgec_float(lane[j]) + edgec_float(lane[j + 4u]);
    }
    return (s[0] + s[2]) + (s[1] + s[3]);
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
            const float top = edgec_float(edgec_gained_top(x + first, a->gain + first, count) >> 1) * r;
            const float inverse = edgec_bits(top) ? edgec_quotient(127.0f, top) : 0.0f;
            const int32_t sum = edgec_normal_quantize(x + first, a->gain + first,
                                                      a->q + (size_t)row * k + first, count, r, inverse);
            if (a->sums) {
                a->sums[unit] = sum;
            }
            a->scale[unit] = top * EDGEC_ONE_127TH;
            first += count;
        }
    }
}

static void edgec_normalise_rows(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_KNOWN(edgec_rmsnorm_quantize_args, a, args);
    edgec_normalise_groups(a, core, n_cores, 0.0f);
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
        c->lanes[j] = edgec_bits(squares);
        c->tops[j] = top;
    }
    hal_barrier();
    const float r = edgec_rsqrt_steps(edgec_lanes_sum(c->lanes) * a->inv_k + a->eps);
    if (EDGEC_SELDOM(cut.groups == 0)) {
        edgec_normalise_groups(a, core, n_cores, r);
        return;
    }
    EDGEC_UNROLL_1
    for (uint32_t j = core; j < EDGEC_PARTS; j += n_cores) {
        const edgec_part p = edgec_parts_at(&cut, j);
        uint32_t sum = 0;
        if (!EDGEC_SELDOM(p.count == 0)) {
            const float inverse = edgec_parts_inverse(&cut, c, j, r, a->scale);
            sum = edgec_normal_pairs(a->x + p.begin, a->gain + p.begin, a->q + p.begin, p.count, r, inverse);
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
    c.a = args;
    c.cut = edgec_parts_cut(1, a->k, a->group_size, EDGEC_GROUPS);
    hal_fork_team(edgec_normalise_row, &c);
    const edgec_cut cut = edgec_parts_known(&c, a->k, a->group_size, EDGEC_GROUPS);
    if (a->sums && !EDGEC_SELDOM(cut.groups == 0)) {
        edgec_parts_sums(&cut, &c, a->sums);
    }
}
