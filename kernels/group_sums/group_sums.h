/* group_sums: sums of int8 activations over each group of inputs; the last group may be shorter.
 *
 * A matmul over unsigned weights needs them: sum((u - zero) * x) = sum(u * x) - zero * sum(x).
 * Units: groups of all rows. groups = ceil(k / group_size).
 */
#ifndef EDGEC_GROUP_SUMS_H
#define EDGEC_GROUP_SUMS_H

#include "edgec_kernel.h"

typedef struct {

    const int8_t *x; /* [m][k] */
    int32_t *sums;   /* [m][groups] */
    uint32_t m;
    uint32_t k;
    uint32_t group_size;
} edgec_group_sums_args;

void edgec_group_sums(const edgec_group_sums_args *a, uint32_t core, uint32_t n_cores);

#endif
