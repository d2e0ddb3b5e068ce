/* What every kernel relies on: float arithmetic as written, the split of work over cores, loop unrolling.
 *
 * A kernel is `void edgec_<kernel>(const edgec_<kernel>_args *a, uint32_t core, uint32_t n_cores)`.
 * It is called once for every core in 0 .. n_cores - 1, in any order or concurrently, and the calls
 * together do the work. No call reads what another one of the same kernel writes, so no barrier is needed
 * inside; the caller puts one between kernels. A directed kernel (edgec/ops/op.py) is called once, by core 0 as
 * the only one, and forks such calls itself (edgec_fork.h). Pointers obey their element type's alignment and, unless a
 * kernel's header says otherwise, outputs overlap no input.
 *
 * Compile with -ffp-contract=off and without fast-math: results are compared bit by bit.
 */
#ifndef EDGEC_KERNEL_H
#define EDGEC_KERNEL_H

#include <float.h>
#include <stddef.h>
#include <stdint.h>

#if __STDC_HOSTED__
#include <string.h>
#else /* a freestanding compiler brings no string.h; the HAL defines these */
void *memcpy(void *restrict dst, const void *restrict src, size_t bytes);
void *memset(void *dst, int value, size_t bytes);
#endif

_Static_assert(FLT_EVAL_METHOD == 0, "float expressions must be evaluated in float");
#ifdef __FAST_MATH__
#error "edgec kernels need IEEE arithmetic in the written order: compile without -ffast-math"
#endif

/* Bodies written once for several constant arguments are inlined, so that the constants fold. Hot loops that need
 * many registers are functions of their own, so that they have all of them. */
#if defined(__GNUC__)
#define EDGEC_INLINE static inline __attribute__((always_inline))
#define EDGEC_APART  static __attribute__((noinline))
#else
#define EDGEC_INLINE static inline
#define EDGEC_APART  static
#endif

/* Unroll the loop that follows, at most that often: it saves instructions and changes no result. gcc does not unroll
 * unasked, and warns where it has changed the loop before it sees that it must not. */
#if defined(__clang__)
#define EDGEC_UNROLL_1 _Pragma("GCC unroll 1")
#else
#define EDGEC_UNROLL_1
#endif
#if defined(__GNUC__)
#define EDGEC_UNROLL_4 _Pragma("GCC unroll 4")
#define EDGEC_UNROLL_8 _Pragma("GCC unroll 8")
#else
#define EDGEC_UNROLL_4
#define EDGEC_UNROLL_8
#endif

/* A condition that seldom holds: what depends on it is kept out of the way of the rest. */
#if defined(__GNUC__)
#define EDGEC_SELDOM(condition) __builtin_expect((condition) != 0, 0)
#else
#define EDGEC_SELDOM(condition) (condition)
#endif

/* What the compiler may rely on, where it is not seen. */
#if defined(__GNUC__)
#define EDGEC_ASSUME(condition)                                                                              \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            __builtin_unreachable();                                                                         \
        }                                                                                                    \
    } while (0)
#else
#define EDGEC_ASSUME(condition) ((void)0)
#endif

/* `const type *name`, equal to `from`. In a copy of a kernel that is made for one call (edgec/emit/kernel_copies.py)
 * the numbers that the call never changes are constants in what it points to: then only addresses are loaded. */
#if defined(EDGEC_FIXED)
#define EDGEC_KNOWN(type, name, from)                                                                        \
    type name##_known = *(const type *)(from);                                                               \
    EDGEC_FIXED(name##_known);                                                                               \
    const type *const name = &name##_known
#else
#define EDGEC_KNOWN(type, name, from) const type *name = (from)
#endif

/* What the kernels of a file share is a function of its own, but in a copy, which is of one of them. */
#if defined(EDGEC_FIXED)
#define EDGEC_SHARED EDGEC_INLINE
#else
#define EDGEC_SHARED EDGEC_APART
#endif

/* In such a copy the number of cores that a fork has is known too. */
#if defined(EDGEC_FIXED) && defined(EDGEC_CORES)
#define EDGEC_ALL_CORES(n_cores) ((n_cores) = EDGEC_CORES)
#else
#define EDGEC_ALL_CORES(n_cores) ((void)0)
#endif

/* A function that passes once: short rather than fast code between its loops. */
#if defined(__clang__)
#define EDGEC_COMPACT __attribute__((minsize))
#else
#define EDGEC_COMPACT
#endif

/* Units begin .. end - 1. */
typedef struct {
    uint32_t begin;
    uint32_t end;
} edgec_range;

/* This core's contiguous share of `total` independent units; shares differ by at most one unit. */
static inline edgec_range edgec_split(uint32_t total, uint32_t core, uint32_t n_cores) {
    const uint32_t share = total / n_cores;
    const uint32_t rest = total % n_cores;
    const uint32_t begin = core * share + (core < rest ? core : rest);
    return (edgec_range){begin, begin + share + (core < rest ? 1u : 0u)};
}

#endif
