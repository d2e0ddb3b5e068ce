"""The quotients that kernels for XpulpV2 compute without a division are the division's.

The sequences of fused multiply-adds are repeated here in C, as hosts do not run the cores' instructions.
"""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import pytest
from kernel_library import STRICT, compilers

LOOPS = """
#include "edgec_math.h"
float fmaf(float, float, float);
static float twice(float a, float b, float c) { /* a multiply-add that rounds to double, and then again */
    volatile double sum = (double)a * (double)b;
    sum += (double)c;
    return (float)sum;
}
static float steps(float (*round_of)(float, float, float), float x, float y) {
    for (int i = 0; i < 2; i++) {
        const float e = round_of(-x, y, 1.0f);
        y = round_of(y, round_of(e, e, e), y);
    }
    return y;
}
uint32_t wrong_halves(void);
uint32_t wrong_halves(void) {
    uint32_t wrong = 0;
    for (uint32_t half = 1; half < 0x7C00u; half++) {
        const float x = edgec_f16_to_f32((uint16_t)half), guess = edgec_float(0x7EF30000u - edgec_bits(x));
        wrong += edgec_bits(steps(fmaf, x, guess)) != edgec_bits(1.0f / x);
        wrong += edgec_bits(steps(twice, x, guess)) != edgec_bits(1.0f / x);
    }
    return wrong;
}
static float quotient(float (*round_of)(float, float, float), float n, float d) {
    const float r = steps(round_of, d, edgec_float(0x7EFD8000u - edgec_bits(d)));
    const float q = n * r;
    return round_of(round_of(-d, q, n), r, q);
}
uint32_t wrong_quotients_of_one(void);
uint32_t wrong_quotients_of_one(void) {
    uint32_t wrong = 0;
    for (uint32_t half = 0x400u; half < 0x7C00u; half++) {
        const float x = edgec_f16_to_f32((uint16_t)half);
        wrong += edgec_bits(quotient(fmaf, 1.0f, x)) != edgec_bits(1.0f / x);
        wrong += edgec_bits(quotient(twice, 1.0f, x)) != edgec_bits(1.0f / x);
    }
    return wrong;
}
uint32_t wrong_quotients(uint32_t first, uint32_t step, uint32_t count);
uint32_t wrong_quotients(uint32_t first, uint32_t step, uint32_t count) {
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < count; i++) {
        const float d = edgec_float(first + i * step);
        for (int n = 127; n < 256; n += 128) {
            const uint32_t want = edgec_bits((float)n / d);
            wrong += edgec_bits(quotient(fmaf, (float)n, d)) != want;
            wrong += edgec_bits(quotient(twice, (float)n, d)) != want;
        }
    }
    return wrong;
}
"""


@pytest.fixture(scope="module", params=sorted(compilers()))
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The loops, compiled by each of the host's compilers."""
    folder = tmp_path_factory.mktemp("division")
    (folder / "loops.c").write_text(LOOPS)
    out = folder / "loops.so"
    command = [*compilers()[request.param], *STRICT, "-fPIC", "-shared", "-o", str(out), str(folder / "loops.c"), "-lm"]
    subprocess.run(command, check=True, capture_output=True)
    return ctypes.CDLL(str(out))


def test_quotients_of_127_and_255(library: ctypes.CDLL) -> None:
    """edgec_quotient: of all significands, and at the ends of its range."""
    one, ends = int(np.float32(1).view(np.uint32)), [int(np.float32(2.0**x).view(np.uint32)) for x in (-95, 97)]
    assert library.wrong_quotients(ctypes.c_uint32(one), ctypes.c_uint32(1), ctypes.c_uint32(2**23)) == 0
    for first in (ends[0], ends[1] - 2**16):
        assert library.wrong_quotients(ctypes.c_uint32(first), ctypes.c_uint32(1), ctypes.c_uint32(2**16)) == 0


def test_quotients_of_one(library: ctypes.CDLL) -> None:
    """edgec_quotient over every normal binary16, as rope_append's scales of keys and values are."""
    assert library.wrong_quotients_of_one() == 0


def test_reciprocals_of_all_binary16(library: ctypes.CDLL) -> None:
    """edgec_reciprocal of every positive finite one, as kv_append's scales are."""
    assert library.wrong_halves() == 0
