"""Floats without float instructions: edgec_soft_float.c gives the host's bits, edgec_math.h its own either way."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_library import ROOT, STRICT, compilers
from numpy.typing import NDArray

from edgec.ops import numerics

f32 = np.float32
F32 = NDArray[np.float32]
LOOPS = """
#include <stdint.h>
#define OVER(name, type, to, function) to function(type, type); \\
    void name(const type *x, const type *y, to *z, uint32_t n); \\
    void name(const type *x, const type *y, to *z, uint32_t n) { \\
        for (uint32_t i = 0; i < n; i++) z[i] = function(x[i], y[i]); \\
    }
#define OF(name, type, to, function) to function(type); \\
    void name(const type *x, const type *y, to *z, uint32_t n); \\
    void name(const type *x, const type *y, to *z, uint32_t n) { \\
        (void)y; \\
        for (uint32_t i = 0; i < n; i++) z[i] = function(x[i]); \\
    }
OVER(add, float, float, __addsf3) OVER(sub, float, float, __subsf3)
OVER(mul, float, float, __mulsf3) OVER(div, float, float, __divsf3)
OF(signed_, int32_t, float, __floatsisf) OF(unsigned_, uint32_t, float, __floatunsisf)
OVER(lt, float, int32_t, __ltsf2) OVER(le, float, int32_t, __lesf2) OVER(gt, float, int32_t, __gtsf2)
OVER(ge, float, int32_t, __gesf2) OVER(eq, float, int32_t, __eqsf2) OVER(ne, float, int32_t, __nesf2)
"""


@pytest.fixture(scope="module", params=sorted(compilers()))
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The functions over arrays, built for the host."""
    folder = tmp_path_factory.mktemp("soft_float")
    (folder / "loops.c").write_text(LOOPS)
    out, source = folder / "soft.so", ROOT / "common" / "edgec_soft_float.c"
    command = [*compilers()[request.param], *STRICT, "-DEDGEC_SOFT_FLOAT", "-fPIC", "-shared", "-o", str(out)]
    subprocess.run([*command, str(source), str(folder / "loops.c")], check=True, capture_output=True)
    return ctypes.CDLL(str(out))


def _in_c(library: ctypes.CDLL, name: str, x: NDArray[Any], y: NDArray[Any], dtype: type) -> NDArray[Any]:
    z: NDArray[Any] = np.empty(x.size, dtype)
    pointers = [ctypes.c_void_p(v.ctypes.data) for v in (x, y, z)]
    library[name](*pointers, ctypes.c_uint32(x.size))
    return z


def _numbers(rng: np.random.Generator, size: int) -> F32:
    """Random bits, and bits near the ends of binades: zeros, subnormals, infinities and NaN among them."""
    bits = rng.integers(0, 2**32, size, dtype=np.uint64)
    near = rng.integers(0, 512, size, dtype=np.uint64) * 2**23 + rng.integers(-4, 5, size).astype(np.uint64)
    return np.where(rng.random(size) < 0.5, bits, near).astype(np.uint32).view(f32)


def _pairs(seed: int, size: int = 2**20) -> tuple[F32, F32]:
    """Pairs of such numbers, half of them with exponents less than 32 apart."""
    rng = np.random.default_rng(seed)
    x, y = _numbers(rng, size), _numbers(rng, size)
    apart = rng.integers(-32, 33, size).astype(np.int64) << 23
    close = ((x.view(np.uint32).astype(np.int64) + apart) & 0x7F800000) | (y.view(np.uint32) & 0x807FFFFF)
    return x, np.where(rng.random(size) < 0.5, close.astype(np.uint32), y.view(np.uint32)).view(f32)


def _same(got: F32, want: F32) -> None:
    wrong = (got.view(np.uint32) != want.view(np.uint32)) & ~(np.isnan(got) & np.isnan(want))
    assert not wrong.any(), f"{int(wrong.sum())} differ, first at {int(np.flatnonzero(wrong)[0])}"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "operation"), [("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("div", np.divide)]
)
def test_operations(library: ctypes.CDLL, name: str, operation: Any, seed: int) -> None:
    """The same bits as the host's instructions; any NaN for a NaN."""
    x, y = _pairs(seed)
    with np.errstate(all="ignore"):
        want = operation(x, y)
    _same(_in_c(library, name, x, y, f32), want)


@pytest.mark.parametrize("name", ["lt", "le", "gt", "ge", "eq", "ne"])
def test_comparisons(library: ctypes.CDLL, name: str) -> None:
    """Compared with 0, a result says what the operator says, NaN included."""
    x, y = _pairs(9)
    y[::7] = x[::7]
    of = {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal}
    of |= {"eq": np.equal, "ne": np.not_equal}
    got = of[name](_in_c(library, name, x, y, np.int32), 0)
    assert (got == of[name](x, y)).all()


@pytest.mark.parametrize(("name", "dtype"), [("signed_", np.int32), ("unsigned_", np.uint32)])
def test_conversions(library: ctypes.CDLL, name: str, dtype: type) -> None:
    """Integers of every length, ties among them."""
    rng = np.random.default_rng(4)
    x = (rng.integers(0, 2**32, 2**20, dtype=np.uint64) >> rng.integers(0, 32, 2**20).astype(np.uint64)).astype(
        np.uint32
    )
    ends = np.concatenate([np.arange(-9, 9), 2**24 + np.arange(-9, 99), 2**31 + np.arange(-9, 9)]).astype(np.uint32)
    x = np.concatenate([x, ends, np.uint32(0) - x]).view(dtype)
    _same(_in_c(library, name, x, x, f32), x.astype(f32))


FUNCTIONS = """
#include "edgec_math.h"
void exp2_of(const float *x, const float *y, int32_t *z, uint32_t n);
void exp2_of(const float *x, const float *y, int32_t *z, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        const int32_t index = edgec_exp2_index(x[i], EDGEC_EXP2_MAGIC - y[i]);
        z[i] = index < EDGEC_EXP2_LOWEST ? 0 : edgec_exp2_bytes[index - EDGEC_EXP2_LOWEST];
    }
}
"""


@pytest.fixture(scope="module", params=[(c, soft) for c in sorted(compilers()) for soft in (False, True)], ids=str)
def functions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """edgec_math.h over arrays, as it is with float instructions and without."""
    compiler, soft = request.param
    folder = tmp_path_factory.mktemp("functions")
    (folder / "functions.c").write_text(FUNCTIONS)
    out, arrays = folder / "functions.so", Path(__file__).with_name("math_arrays.c")
    command = [*compilers()[compiler], *STRICT, *["-DEDGEC_SOFT_FLOAT"] * soft, "-fPIC", "-shared", "-o", str(out)]
    subprocess.run([*command, str(arrays), str(folder / "functions.c")], check=True, capture_output=True)
    return ctypes.CDLL(str(out))


@pytest.mark.parametrize("top", [0, 1 / 128, 3 / 128, -0.1, 77.77, -1234.5, 2**16, -(2**16), 1e-30])
def test_exp2_of_a_float(functions: ctypes.CDLL, top: float) -> None:
    """exp2_bytes for every multiple of 2^-9 down to 10 below the largest, ties too, neighbours, far below."""
    most = f32(top)
    multiples = (most - np.arange(10 * 2**9, dtype=np.float64) / 2**9).astype(f32)
    near = np.concatenate([multiples, np.nextafter(multiples, f32(-np.inf)), np.nextafter(multiples, f32(np.inf))])
    far = np.concatenate([-(f32(10) ** np.arange(-40, 38).astype(f32)), np.array([0, -0.0, -1e-45, -np.inf], f32)])
    x = np.concatenate([near, far, [most]]).astype(f32)
    x = x[x <= most]
    got = _in_c(functions, "exp2_of", x, np.full(x.size, most), np.int32)
    assert (got == numerics.exp2_bytes(x, most)).all()


@pytest.mark.parametrize(
    ("name", "dtype"), [("rint_i32", np.int32), ("exp", f32), ("silu", f32), ("f16_from_f32", np.uint16)]
)
def test_functions(functions: ctypes.CDLL, name: str, dtype: type) -> None:
    """The same bits as the definitions, halves and both signs included."""
    rng = np.random.default_rng(2)
    halves = (np.arange(-(2**19), 2**19) * 0.5).astype(f32)
    small = (rng.normal(size=2**19) * 10.0 ** rng.uniform(-40, 2, 2**19)).astype(f32)
    x = np.concatenate([halves, small, np.linspace(-90, 90, 2**18, dtype=f32)])
    x = np.abs(x) if name == "f16_from_f32" else x
    y: NDArray[Any] = np.empty(x.size, dtype)
    pointers = [ctypes.c_void_p(v.ctypes.data) for v in (x, y)]
    functions[f"math_{name}"](*pointers, ctypes.c_uint32(x.size))
    want = getattr(numerics, name)(x)
    assert (y.view(np.uint8) == want.view(np.uint8)).all()


def test_binary16(functions: ctypes.CDLL) -> None:
    """All finite numbers."""
    x = np.arange(65536, dtype=np.uint32).astype(np.uint16)
    x = x[(x & 0x7C00) != 0x7C00]
    y = np.empty(x.size, f32)
    functions.math_f16_to_f32(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data), ctypes.c_uint32(x.size))
    _same(y, x.view(np.float16).astype(f32))
