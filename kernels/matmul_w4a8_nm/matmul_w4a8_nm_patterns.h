/* The kernels of matmul_w4a8_nm.h by name: a variant's file has edgec_nm_any and then EDGEC_NM_PATTERNS(bits) for each width. */
#ifndef EDGEC_MATMUL_W4A8_NM_PATTERNS_H
#define EDGEC_MATMUL_W4A8_NM_PATTERNS_H

/* A function for each width and pattern, so that a program holds those that it uses. */
#define EDGEC_NM(bits, removed, of)                                                                          \
    void edgec_matmul_w##bits##a8_##removed##_##of(                                                          \
        const edgec_matmul_w##bits##a8_##removed##_##of##_args *a, uint32_t core, uint32_t n_cores) {        \
        edgec_nm_any(bits, (of) - (removed), of, a, core, n_cores);                                          \
    }
#define EDGEC_NM_PATTERNS(bits)                                                                              \
    EDGEC_NM(bits, 1, 2)                                                                                     \
    EDGEC_NM(bits, 2, 4)                                                                                     \
    EDGEC_NM(bits, 3, 4)                                                                                     \
    EDGEC_NM(bits, 4, 8)                                                                                     \
    EDGEC_NM(bits, 6, 8)                                                                                     \
    EDGEC_NM(bits, 8, 16)                                                                                    \
    EDGEC_NM(bits, 12, 16)

#endif
