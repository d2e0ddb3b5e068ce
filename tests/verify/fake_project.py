"""A hand-written stand-in for an emitted project: three memories, one kernel, and a misdeed per negative token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgec.emit.templates import render
from edgec.resources import folder as data_folder

GLUE = (
    "hal.h",
    "hal_host.c",
    "hal_rv32.c",
    "freestanding.h",
    "crt0.S",
    "console.h",
    "writing.h",
    "main.c",
    "verify_main.c",
)
CONTEXT, VOCAB = 8, 16
WEIGHTS = (np.arange(VOCAB) * 5 % VOCAB).astype("<f4")
L2_START = np.arange(8, dtype="<i4")

MEMORIES: list[dict[str, Any]] = [
    {"name": "L1", "symbol": "edgec_l1", "bytes": 1040, "image": None, "image_bytes": 0, "writable": True},
    {"name": "L2", "symbol": "edgec_l2", "bytes": 96, "image": "l2.bin", "image_bytes": 32, "writable": True},
    {"name": "MRAM", "symbol": "edgec_mram", "bytes": 4096, "image": "mram.bin", "image_bytes": 64, "writable": False},
    {"name": "L3", "symbol": "edgec_l3", "bytes": 0, "image": None, "image_bytes": 0, "writable": True},
]

MODEL_H = """
#ifndef MODEL_H
#define MODEL_H
#include <stdint.h>
#define EDGEC_CONTEXT 8u
#define EDGEC_VOCAB 16u
extern uint8_t edgec_l1[];
#define EDGEC_L1_BYTES 1040
extern uint8_t edgec_l2[];
extern uint8_t edgec_mram[];
int32_t model_prefill(const int32_t *tokens, uint32_t count);
int32_t model_decode(int32_t token);
void model_reset(void);
void model_sampling(float temperature, uint32_t top_k, float top_p, uint64_t seed);
const float *model_logits(void);
#endif
"""

KERNEL_H = """
#ifndef EDGEC_AXPY_H
#define EDGEC_AXPY_H
#include <stdint.h>
typedef struct { const float *x; float *y; float a; uint32_t n; } edgec_axpy_args;
void edgec_axpy(const edgec_axpy_args *args, uint32_t core, uint32_t n_cores);
#endif
"""

KERNEL_C = """
#include "axpy.h"
void edgec_axpy(const edgec_axpy_args *args, uint32_t core, uint32_t n_cores) {
    for (uint32_t i = core; i < args->n; i += n_cores)
        args->y[i] = args->a * args->x[i] + args->y[i];
}
"""

MODEL_C = """
#include "model.h"
#include "axpy.h"
#include "hal.h"

HAL_KERNEL(edgec_axpy)

/* What no kernel may do: fork, or wait for cores that only run after it. */
typedef struct { uint32_t forks; } edgec_unruly_args;
static void edgec_unruly(const edgec_unruly_args *args, uint32_t core, uint32_t n_cores);
HAL_KERNEL(edgec_unruly)
static void edgec_unruly(const edgec_unruly_args *args, uint32_t core, uint32_t n_cores) {
    (void)core, (void)n_cores;
    if (args->forks)
        HAL_FORK(edgec_unruly, args);
    hal_barrier();
}

/* L1: weights at 0; L2: 8 initial numbers, position at 28, logits at 32 */
#define WEIGHTS ((float *)(void *)edgec_l1)
#define POSITION ((int32_t *)(void *)(edgec_l2 + 28))
#define LOGITS ((float *)(void *)(edgec_l2 + 32))

static volatile uint32_t sink;

static uint32_t deep(uint32_t n) {
    volatile uint8_t frame[256];
    frame[n % 256u] = 1;
    return n == 0 ? frame[0] : deep(n - 1) + frame[1];
}

/* The memory functions against byte loops, at every alignment. */
static int memory_functions_work(void) {
    static uint8_t from[160], to[160], expected[160];
    for (uint32_t a = 0; a < 8; a++)
        for (uint32_t b = 0; b < 8; b++)
            for (uint32_t n = 0; n < 72; n++) {
                for (uint32_t i = 0; i < 160; i++)
                    from[i] = (uint8_t)(i * 7u), to[i] = expected[i] = (uint8_t)(i * 3u);
                for (volatile uint32_t i = 0; i < n; i++)
                    expected[a + i] = from[b + i];
                memcpy(to + a, from + b, n);
                for (volatile uint32_t i = 0; i < n; i++)
                    expected[80 + a + i] = (uint8_t)(a + 200u);
                memset(to + 80 + a, (int)a + 200, n);
                if (memcmp(to, expected, 160) != 0)
                    return 0;
                memmove(from + a, from + b, n);
                for (uint32_t i = 0; i < n; i++)
                    if (from[a + i] != (uint8_t)((b + i) * 7u))
                        return 0;
            }
    to[0] = 1, expected[0] = 2;
    return memcmp(to, expected, 1) < 0 && memcmp(expected, to, 1) > 0;
}

static void misbehave(int32_t how) {
    volatile uint8_t *volatile l1 = edgec_l1, *volatile mram = edgec_mram; /* nothing for the compiler to see */
    switch (how) {
    case -1: sink = l1[EDGEC_L1_BYTES]; break;
    case -2: l1[EDGEC_L1_BYTES] = 1; break;
    case -3: sink = l1[-4096]; break;
    case -4: l1[-4096] = 1; break;
    case -5: l1[-1] = 1; break;
    case -6: mram[0] = 1; break;
    case -7: sink = mram[4096]; break;
    case -8: sink = mram[-1]; break;
    case -9: sink = deep(100000000); break;
    case -10: for (;;) sink++; break;
    case -11: __builtin_trap(); break;
    case -12: sink = *(volatile uint8_t *)(uintptr_t)sink; break;
    case -13: hal_dma_start(edgec_l1, edgec_mram, 1u << 20); hal_dma_wait(); break;
    case -14: hal_print("no more\\n"); hal_exit(9); break;
    case -15: hal_exit(memory_functions_work() ? 77 : 78); break;
    case -16: hal_trace(1, edgec_l1, 1u << 20); break;
    case -17: ((void (*)(void))(uintptr_t)edgec_l1)(); break;
    case -18: HAL_FORK(edgec_unruly, &((const edgec_unruly_args){1})); break;
    case -19: HAL_FORK(edgec_unruly, &((const edgec_unruly_args){0})); break;
    case -20: for (uint32_t i = 0; i <= 1024; i++) hal_dma_start(edgec_l1, edgec_mram, 1); break;
    default: break;
    }
}

static int32_t step(int32_t token) {
    if (*POSITION == (int32_t)EDGEC_CONTEXT)
        return -1;
    if (token == 15) /* wrong on purpose: these bytes are still on their way when they are read */
        hal_dma_start(WEIGHTS, edgec_mram, 64), sink = *(uint32_t *)(void *)(WEIGHTS + 3);
    else
        hal_dma_start(WEIGHTS, edgec_mram, 64);
    if (token == 15)
        LOGITS[0] += (float)(sink & 0xffffu);
    hal_dma_wait();
    const edgec_axpy_args args = {WEIGHTS, LOGITS, (float)token + 0.1f, EDGEC_VOCAB};
    HAL_FORK(edgec_axpy, &args);
    *POSITION += 1;
#ifdef EDGEC_TRACE
    hal_trace(7, WEIGHTS, 64);
    hal_trace(8, LOGITS, 64);
#endif
    int32_t best = 0;
    for (int32_t i = 1; i < (int32_t)EDGEC_VOCAB; i++)
        best = LOGITS[i] > LOGITS[best] ? i : best;
    return best;
}

int32_t model_prefill(const int32_t *tokens, uint32_t count) {
    int32_t next = -1;
    for (uint32_t i = 0; i < count; i++)
        next = step(tokens[i]);
    return next;
}

int32_t model_decode(int32_t token) {
    if (token < 0)
        misbehave(token);
    return step(token);
}

void model_reset(void) {
    *POSITION = 0;
    sink = (uint32_t)hal_cycles();
    memset(LOGITS, 0, 64);
}

void model_sampling(float temperature, uint32_t top_k, float top_p, uint64_t seed) {
    LOGITS[0] = temperature;
    LOGITS[1] = (float)top_k;
    LOGITS[2] = top_p;
    LOGITS[3] = (float)(uint32_t)(seed >> 32);
}

const float *model_logits(void) { return LOGITS; }
"""


def fnv(data: bytes) -> int:
    """FNV-1a, 32 bits."""
    value = 2166136261
    for byte in data:
        value = (value ^ byte) * 16777619 % 2**32
    return value


def logits(tokens: list[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What the stand-in model computes for these tokens after a reset."""
    out: np.ndarray[Any, np.dtype[np.float32]] = np.zeros(VOCAB, np.float32)
    for token in tokens:
        out = (np.float32(token) + np.float32(0.1)) * WEIGHTS + out  # float32 throughout
    return out


def write_project(
    folder: Path,
    model_c: str = MODEL_C,
    golden_token: int | None = None,
    memories: list[dict[str, Any]] = MEMORIES,
) -> Path:
    """An emitted project's folder with the stand-in model; golden_token overrides the first token of its self-test."""
    kernel = folder / "kernels/axpy"
    kernel.mkdir(parents=True)
    (folder / "arenas.S").write_text(render("arenas.S.j2", memories=memories))
    (folder / "link.ld").write_text(render("link.ld.j2", memories=memories, stack_bytes=16384))
    for name in GLUE:
        (folder / name).write_bytes((data_folder("templates") / name).read_bytes())
    (folder / "model.h").write_text(MODEL_H)
    (folder / "model.c").write_text(model_c)
    (kernel / "axpy.h").write_text(KERNEL_H)
    (kernel / "axpy.c").write_text(KERNEL_C)
    (folder / "mram.bin").write_bytes(WEIGHTS.tobytes())
    (folder / "l2.bin").write_bytes(L2_START.tobytes())
    first = int(logits([1, 2]).argmax())
    final = logits([1, 2, first])
    tokens = (first if golden_token is None else golden_token, int(final.argmax()))
    (folder / "golden.h").write_text(
        "#include <stdint.h>\n"
        "static const int32_t GOLDEN_PROMPT[] = {1, 2};\n#define GOLDEN_PROMPT_COUNT 2u\n"
        f"static const int32_t GOLDEN_TOKENS[] = {{{tokens[0]}, {tokens[1]}}};\n#define GOLDEN_COUNT 2u\n"
        f"#define GOLDEN_LOGITS_FNV {fnv(final.tobytes())}u\n"
    )
    return folder
