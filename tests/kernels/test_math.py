"""The C twins of edgec/ops/numerics.py give its bits: over all inputs where those are few, else over millions."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_library import STRICT, compilers
from numpy.typing import NDArray

from edgec.ops import numerics
from edgec.ops.gelu import gelu

f32 = np.float32


@pytest.fixture(scope="module", params=sorted(compilers()))
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """edgec_math.h over arrays, compiled by each of the host's compilers."""
    out = tmp_path_factory.mktemp("math") / "math.so"
    source = Path(__file__).with_name("math_arrays.c")
    command = [*compilers()[request.param], *STRICT, "-fPIC", "-shared", "-o", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return ctypes.CDLL(str(out))


def _in_c(library: ctypes.CDLL, name: str, x: NDArray[Any], dtype: type) -> NDArray[Any]:
    y: NDArray[Any] = np.empty(x.size, dtype)
    library[f"math_{name}"](ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data), ctypes.c_uint32(x.size))
    return y


def _same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.dtype == b.dtype and bool((a.view(np.uint8) == b.view(np.uint8)).all())


def _patterns(first: int, last: int, step: int) -> NDArray[np.float32]:
    """Floats whose bits are first, first + step, ... and the 4,096 patterns at each end."""
    ends = (np.arange(first, first + 4096), np.arange(last - 4095, last + 1))
    x: NDArray[np.float32] = np.concatenate([np.arange(first, last, step), *ends]).astype(np.uint32).view(f32)
    return x


def test_constants(library: ctypes.CDLL) -> None:
    """The rounded constants are NumPy's."""
    y = np.empty(4, f32)
    library.math_constants(ctypes.c_void_p(y.ctypes.data))
    want = [numerics.LOG2E, numerics.ONE_127TH, numerics.ONE_255TH, numerics.F16_MAX]
    assert _same_bits(y, np.array(want, f32))


def test_rint_i32(library: ctypes.CDLL) -> None:
    """Halves below 2^22 of both signs, and random floats."""
    halves = (np.arange(-(2**21), 2**21) * 0.5).astype(f32)
    random = np.random.default_rng(1).uniform(-(2**22), 2**22, size=2**20).astype(f32)
    for x in (halves, random):
        assert _same_bits(_in_c(library, "rint_i32", x, np.int32), numerics.rint_i32(x))
        assert (numerics.rint_i32(x) == np.rint(x)).all()


def test_exp(library: ctypes.CDLL) -> None:
    """Four million bit patterns of both signs, up to infinity, and a dense line over the unclamped range."""
    positive = _patterns(0, 0x7F800000, 1021)
    for x in (positive, -positive, np.linspace(-90, 90, 2**20, dtype=f32)):
        assert _same_bits(_in_c(library, "exp", x, f32), numerics.exp(x))


@pytest.mark.parametrize("form", ["tanh", "erf"])
def test_gelu(library: ctypes.CDLL, form: str) -> None:
    """Four million finite bit patterns of both signs, and a dense line where the result bends."""
    positive = _patterns(0, 0x7F800000 - 1, 1021)
    for x in (positive, -positive, np.linspace(-20, 20, 2**20, dtype=f32)):
        assert _same_bits(_in_c(library, f"gelu_{form}", x, f32), gelu(x, form))


def _sigmoid_joints() -> NDArray[np.float32]:
    """Where one line of sigmoid's table ends and the next one begins, with three floats on each side, ascending."""
    joints = ((np.arange(-192, 192) + 0.5) / 16).astype(f32)
    near: NDArray[np.float32] = (joints.view(np.int32)[:, None] + np.arange(-3, 4, dtype=np.int32)).view(f32)
    return np.sort(near.ravel())


def test_sigmoid_of_c(library: ctypes.CDLL) -> None:
    """Four million bit patterns of both signs, infinities and what is no number; the table, line by line."""
    positive = _patterns(0, 0xFFFFFFFF, 1021)
    for x in (positive, _sigmoid_joints(), np.linspace(-13, 13, 2**20, dtype=f32)):
        assert _same_bits(_in_c(library, "sigmoid", x, f32), numerics.sigmoid(x))
    finite = positive[np.isfinite(positive)]
    assert _same_bits(_in_c(library, "silu", finite, f32), numerics.silu(finite))


def test_sigmoid() -> None:
    """Within 2.36e-5 of the function, within 5e-4 of its value above -8; from 0 to 1, never descending."""
    x = np.linspace(-14, 14, 2**22, dtype=f32)
    y, want = numerics.sigmoid(x), 1 / (1 + np.exp(-x.astype(np.float64)))
    assert np.abs(y - want).max() < 2.36e-5
    assert (np.abs(y / want - 1)[x > -8] < 5e-4).all()
    assert (np.abs(numerics.silu(x) - x * want) < 7.6e-5).all()
    assert (np.diff(y) >= 0).all() and (np.diff(numerics.sigmoid(_sigmoid_joints())) >= 0).all()
    assert y[0] == 0 and y[-1] == 1 and numerics.sigmoid(np.array([0, -0.0], f32)).tolist() == [0.5, 0.5]


def test_sigmoid_table() -> None:
    """Its values are far from ties, so no library's exponential could round otherwise."""
    x = (np.arange(386) - 192.5) / 16
    y = 1 / (1 + np.exp(-x))
    table = (y - y * (1 - y) * (1 - 2 * y) / 4096) * 2**22
    assert (np.abs(table % 1 - 0.5) > 1e-3).all()


def test_silu_at_the_ends() -> None:
    """0 keeps its sign; below -12 the gate is shut, above 12 open; what is no number stays so."""
    x = np.array([0.0, -0.0, 12, 1e38, np.inf, -12, -1e38], f32)
    assert _same_bits(numerics.silu(x), np.array([0.0, -0.0, 12, 1e38, np.inf, -0.0, -0.0], f32))
    with np.errstate(invalid="ignore"):
        assert np.isnan(numerics.silu(np.array([np.nan, -np.nan, -np.inf], f32))).all()


def test_rsqrt(library: ctypes.CDLL) -> None:
    """Four million normal positive bit patterns."""
    x = _patterns(0x00800000, 0x7F7FFFFF, 509)
    assert _same_bits(_in_c(library, "rsqrt", x, f32), numerics.rsqrt(x))


def test_exp2_q15(library: ctypes.CDLL) -> None:
    """All inputs down to far below the clamp."""
    x = np.arange(-140000, 1, dtype=np.int32)
    y = _in_c(library, "exp2_q15", x, np.int32)
    assert _same_bits(y, numerics.exp2_q15(x))
    assert (np.diff(y) >= 0).all() and y[-1] == 32768 and y[x <= -65536].max() == 0
    lowest = np.array([-(2**31), -(2**31) + 1], np.int32)
    assert (_in_c(library, "exp2_q15", lowest, np.int32) == 0).all()


def test_exp2_bytes() -> None:
    """To within half a step of the bytes and of the argument's rounding, whatever the largest; all entries are used."""
    table = 255 * 2.0 ** ((np.arange(577) - 576) / 64)
    roots = np.arange(577) % 64 != 0  # the others are exact
    assert (np.abs(table % 1 - 0.5)[roots] > 1e-5).all()  # far from ties: no library's 2^x could round otherwise
    for top in (0, 3.3, -1000.7, 65536, -65536, 1e6, -3e7, 2e30):
        most = f32(top)
        x = (most - np.linspace(0, 12, 10001)).astype(f32)
        e = numerics.exp2_bytes(x, np.full(x.size, most))
        want = 255 * 2.0 ** (x.astype(np.float64) - np.float64(most))
        assert (np.abs(e - want) <= 0.5 + want * (2 ** (1 / 64) - 1)).all() or np.spacing(most) > 1 / 256
        assert (np.diff(e) <= 0).all() and e[0] == 255
    assert set(e) <= set(numerics.EXP2_BYTES)
    assert (numerics.exp2_bytes(np.array([-9, -np.inf, -1e38], f32), f32(0)) == 0).all()


def test_f16_to_f32(library: ctypes.CDLL) -> None:
    """All finite binary16 numbers."""
    x = np.arange(65536, dtype=np.uint32).astype(np.uint16)
    x = x[(x & 0x7C00) != 0x7C00]
    assert _same_bits(_in_c(library, "f16_to_f32", x, f32), x.view(np.float16).astype(f32))


def test_f16_from_f32(library: ctypes.CDLL) -> None:
    """Eight million bit patterns up to infinity; every binary16 number, every midpoint, and their neighbours."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    exact = np.concatenate([halves, (halves[1:] + halves[:-1]) / 2]).astype(f32)
    infinity = f32(np.inf)
    near = np.concatenate([exact, np.nextafter(exact, f32(0)), np.nextafter(exact, infinity)])
    for x in (_patterns(0, 0x7F800000, 257), near, np.array([65503.9, 65504, 65519.9, 65520, 1e9, np.inf], f32)):
        got = _in_c(library, "f16_from_f32", x, np.uint16)
        assert _same_bits(got, numerics.f16_from_f32(x).view(np.uint16))
