"""quantize_dynamic: float rows to int8 with one scale a row, scale = absmax/127, ties to even."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.ir.graph import TensorType
from edgec.ops.numerics import F32, ONE_127TH, f32, rint_i32
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, require


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """x f32[m, k] gives q i8[m, k] and scale f32[m]."""
    x = types["x"]
    require(x.dtype == "f32" and len(x.shape) == 2, f"quantize_dynamic takes float32 rows, not {x}")
    return {"q": TensorType(x.shape, "i8"), "scale": TensorType(x.shape[:1], "f32")}


def quantize_rows(x: F32) -> tuple[NDArray[np.int8], F32]:
    """q and scale of rows [..., k]; a row of zeros has scale 0 and q 0.

    So has, but for its scale, a row whose absmax is below 3.8e-37, where 127 / absmax is infinite: its q are 0.
    """
    amax = np.abs(x).max(axis=-1)
    inv = np.divide(f32(127.0), amax, out=np.zeros_like(amax), where=amax > 0)
    return rint_i32(x * inv[..., None]).astype(np.int8), amax * ONE_127TH


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    q, scale = quantize_rows(inputs["x"])
    return {"q": q, "scale": scale}


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """No quantisation: the values themselves, scale 1."""
    x = inputs["x"]
    return {"q": x, "scale": np.ones(x.shape[0], np.float32)}


def run(a: dict[str, Any]) -> None:
    """Kernel twin: `rows` rows of k elements."""
    rows, k = a["rows"], a["k"]
    q, scale = quantize_rows(a["x"][: rows * k].reshape(rows, k))
    a["q"][: rows * k] = q.reshape(-1)
    a["scale"][:rows] = scale


def example(rng: np.random.Generator) -> Example:
    """Random rows over many magnitudes, some of them zero."""
    m, k = int(rng.integers(1, 5)), int(rng.integers(1, 100))
    x = rng.normal(size=(m, k)).astype(np.float32) * f32(10.0 ** rng.integers(-20, 20))
    if rng.random() < 0.3:
        x[0] = 0
    return Example({"x": x}, {})


KERNEL = Kernel(
    "quantize_dynamic",
    (
        Param("x", "in", "f32"),
        Param("q", "out", "i8"),
        Param("scale", "out", "f32"),
        Param("rows", "u32"),
        Param("k", "u32"),
    ),
    run,
    lambda a: Work(flops=4 * a["rows"] * a["k"] + 10 * a["rows"], parallel=a["rows"]),
)
DOC = "float32 rows to int8 with one scale a row"
OPS = (Op("quantize_dynamic", DOC, infer, reference, ideal, (KERNEL,), example),)
