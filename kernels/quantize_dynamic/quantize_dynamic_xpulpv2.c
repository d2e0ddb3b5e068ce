/* The kernel of quantize_dynamic.h for cores with XpulpV2. */
#include "quantize_dynamic.h"

#include "edgec_parts_xpulpv2.h"

#define EDGEC_GROUPS 2u /* that a row in parts has at most */

/* edgec_quantize_by where a core has long groups: a float instruction every other time, for two cores share a unit and take
 * turns. So four elements are begun while the four before are finished. */
EDGEC_INLINE int32_t edgec_quantize_long(const float *x, int8_t *q, uint32_t count, float inverse) {
#if defined(EDGEC_PULP_FLOAT)
    if (!EDGEC_SELDOM(count < 8u || count % 4u)) {
        int32_t sum = 0;
        uint32_t a, b, c, d, bytes, magic, ones;
        /* clang-format off */
        __asm__ volatile(
            EDGEC_P_LW("%[a]", "4", "%[x]")
            EDGEC_P_LW("%[b]", "4", "%[x]")
            "fmul.s %[a], %[a], %[inverse]\n\t"
            "lui %[magic], %[magic_] >> 12\n\t"
            "fmul.s %[b], %[b], %[inverse]\n\t"
            EDGEC_P_LW("%[c]", "4", "%[x]")
            "fadd.s %[a], %[a], %[magic]\n\t"
            EDGEC_P_LW("%[d]", "4", "%[x]")
            "fadd.s %[b], %[b], %[magic]\n\t"
            "li %[ones], 0x01010101\n\t"
            "fmul.s %[c], %[c], %[inverse]\n\t"
            EDGEC_PV_PACKLO_B("%[bytes]", "%[b]", "%[a]")
            "fmul.s %[d], %[d], %[inverse]\n\t"
            EDGEC_HWLOOP("0", "%[others]", "16",
                EDGEC_P_LW("%[a]", "4", "%[x]")
                "fadd.s %[c], %[c], %[magic]\n\t"
                EDGEC_P_LW("%[b]", "4", "%[x]")
                "fadd.s %[d], %[d], %[magic]\n\t"
                EDGEC_PV_PACKHI_B("%[bytes]", "%[d]", "%[c]")
                "fmul.s %[a], %[a], %[inverse]\n\t"
                EDGEC_P_LW("%[c]", "4", "%[x]")
                "fmul.s %[b], %[b], %[inverse]\n\t"
                EDGEC_P_LW("%[d]", "4", "%[x]")
                "fadd.s %[a], %[a], %[magic]\n\t"
                EDGEC_P_SW("%[bytes]", "4", "%[q]")
                "fadd.s %[b], %[b], %[magic]\n\t"
                EDGEC_PV_SDOTSP_B("%[sum]", "%[bytes]", "%[ones]")
                "fmul.s %[c], %[c], %[inverse]\n\t"
                EDGEC_PV_PACKLO_B("%[bytes]", "%[b]", "%[a]")
                "fmul.s %[d], %[d], %[inverse]\n\t")
            "fadd.s %[c], %[c], %[magic]\n\t"
            "fadd.s %[d], %[d], %[magic]\n\t"
            EDGEC_PV_PACKHI_B("%[bytes]", "%[d]", "%[c]")
            EDGEC_PV_SDOTSP_B("%[sum]", "%[bytes]", "%[ones]")
            EDGEC_P_SW("%[bytes]", "4", "%[q]")
            : [x] "+r"(x), [q] "+r"(q), [sum] "+&r"(sum), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d),
              [bytes] "=&r"(bytes), [magic] "=&r"(magic), [ones] "=&r"(ones)
            : [others] "r"(count / 4u - 1u), [inverse] "r"(inverse), [magic_] "i"(EDGEC_MAGIC_BITS)
            : "memory");
        /* clang-format on */
        return sum;
    }
#endif
    return edgec_quantize_by(x, q, count, inverse);
}

/* Whole groups, of any number of rows. */
static void edgec_quantize_groups(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_KNOWN(edgec_quantize_dynamic_args, a, args);
    EDGEC_ALL_CORES(n_cores);
    const uint32_t size = a->group_size;
    const uint32_t groups = edgec_groups(a->k, size);
    const edgec_range mine = edgec_share(a->rows * groups, core, n_cores);
    uint32_t row = 0, group = mine.begin;
    if (a->rows > 1u) {
        row = mine.begin, group = 0;
        if (EDGEC_SELDOM(groups > 1u)) {
            row = mine.begin / groups;
            group = mine.begin % groups;
        }
    }
    size_t at = (size_t)row * a->k + group * size; /* first element of the group */
    for (uint32_t unit = mine.begin; unit < mine.end; unit++) {
        const uint32_t count = edgec_p_minu(a->k - group * size, size);
        const float *x = a->x + at;
        const float top = edgec_top(x, count, 0.0f);
        const int32_t sum = edgec_quantize_long(x, a->q + at, count, edgec_top_inverse(top));
        a->scale[unit] = top * EDGEC_ONE_127TH;
        if (a->sums) {
            a->sums[unit] = sum;
        }
        at += count;
        group = group + 1u < groups ? group + 1u : 0u;
    }
}

/* One row, by a team. */
static void edgec_quantize_row(const void *args, uint32_t core, uint32_t n_cores) {
    EDGEC_ALL_CORES(n_cores);
    EDGEC_ASSUME(core < n_cores);
    edgec_parts *c = edgec_parts_of(args);
    EDGEC_KNOWN(edgec_quantize_dynamic_args, a, c->a);
    const edgec_cut cut = edgec_parts_known(c, a->k, a->group_size, EDGEC_GROUPS);
    edgec_parts_quantize(&cut, c, a->x, a->q, a->scale, core, n_cores);
}

void edgec_quantize_dynamic(const edgec_quantize_dynamic_args *args, uint32_t core, uint32_t n_cores) {
    (void)core;
    (void)n_cores;
    EDGEC_KNOWN(edgec_quantize_dynamic_args, a, args);
    const edgec_cut cut = edgec_parts_cut(a->rows, a->k, a->group_size, EDGEC_GROUPS);
    if (EDGEC_SELDOM(cut.groups == 0)) {
        hal_fork(edgec_quantize_groups, args);
        return;
    }
    edgec_parts c;
    edgec_parts_begin(&c, args, cut);
    hal_fork_team(edgec_quantize_row, &c);
    if (a->sums) {
        edgec_parts_sums(&cut, &c, a->sums);
    }
}
