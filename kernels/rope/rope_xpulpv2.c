/* The kernel of rope.h for cores with XpulpV2. */
#include "rope.h"

#include "edgec_rows_xpulpv2.h"

/* Element i and its partner in `count` heads of a row. x, y: at element i of the first head; half_bytes: from an element
 * to its partner; head_bytes: from head to head. */
EDGEC_INLINE void edgec_rotate(const float *x, float *y, uint32_t count, uint32_t half_bytes,
                               uint32_t head_bytes, float c, float s) {
#if defined(EDGEC_PULP_FLOAT)
    uint32_t low, high, t, u;
    const uint32_t back = head_bytes - half_bytes;
    /* clang-format off */
    __asm__ volatile(
        EDGEC_HWLOOP("0", "%[count]", "10",
            EDGEC_P_LW_R("%[low]", "%[half]", "%[x]")
            EDGEC_P_LW_R("%[high]", "%[back]", "%[x]")
            "fmul.s %[t], %[low], %[s]\n\t"
            "fmul.s %[low], %[low], %[c]\n\t"
            "fmul.s %[u], %[high], %[s]\n\t"
            "fmul.s %[high], %[high], %[c]\n\t"
            "fsub.s %[low], %[low], %[u]\n\t"
            EDGEC_P_SW_R("%[low]", "%[half]", "%[y]")
            "fadd.s %[high], %[high], %[t]\n\t"
            EDGEC_P_SW_R("%[high]", "%[back]", "%[y]"))
        : [x] "+r"(x), [y] "+r"(y), [low] "=&r"(low), [high] "=&r"(high), [t] "=&r"(t), [u] "=&r"(u)
        : [count] "r"(count), [half] "r"(half_bytes), [back] "r"(back), [c] "r"(c), [s] "r"(s)
        : "memory");
    /* clang-format on */
#else
    const uint32_t half = half_bytes / 4u, d = head_bytes / 4u;
    for (; count > 0; count--) {
        const float low = x[0];
        const float high = x[half];
        y[0] = low * c - high * s;
        y[half] = high * c + low * s;
        x += d;
        y += d;
    }
#endif
}

void edgec_rope(const edgec_rope_args *a, uint32_t core, uint32_t n_cores) {
    /* Rows are split where there are enough; else pairs, as their factors are converted once for all heads; else heads. */
    const uint32_t all = a->head_dim / 2u;
    const uint32_t by_rows = a->m >= n_cores;
    const uint32_t by_pairs = all >= n_cores;
    const edgec_range mine = edgec_share(by_rows ? a->m : by_pairs ? all : a->heads, core, n_cores);
    const edgec_range rows = by_rows ? mine : (edgec_range){0, a->m};
    const edgec_range pairs = by_pairs && !by_rows ? mine : (edgec_range){0, all};
    const edgec_range heads = by_pairs || by_rows ? (edgec_range){0, a->heads} : mine;
    if (heads.begin == heads.end) {
        return;
    }
    for (uint32_t row = rows.begin; row < rows.end; row++) {
        EDGEC_ANEW(a);
        const uint32_t d = a->head_dim, half = d / 2u;
        const int16_t *c = a->table + (size_t)row * d;                  /* [half] */
        const int16_t *s = c + half;                                    /* [half] */
        const float *x = a->x + (size_t)row * a->ldx + heads.begin * d; /* [heads][head_dim] */
        float *y = a->y + ((size_t)row * a->heads + heads.begin) * d;   /* [heads][head_dim] */
        EDGEC_UNROLL_1
        for (uint32_t i = pairs.begin; i < pairs.end; i++) {
            edgec_rotate(x + i, y + i, heads.end - heads.begin, 4u * half, 4u * d, (float)c[i] * a->unit,
                         (float)s[i] * a->unit);
        }
    }
}
