"""rmsnorm: y = x / sqrt(mean(x^2) + eps) * gain, per row (Zhang & Sennrich 2019)."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ops.numerics import F32, f32, lane_sum, rsqrt
from edgec.ops.op import CORES, Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, require


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """x f32[m, k] with gain f32[g]: rows of g elements are normalised, k a multiple of g (per-head norms)."""
    x, gain = types["x"], types["gain"]
    require(x.dtype == "f32" and gain.dtype == "f32", "rmsnorm takes float32 input and gain")
    require(x.shape[1] % gain.shape[0] == 0, f"rmsnorm's gain of {gain.shape[0]} does not divide rows of {x.shape[1]}")
    return {"y": x}


def normalise(x: F32, gain: F32, inv_k: np.float32, eps: np.float32) -> F32:
    """The definition, on rows [..., k]: written-order sum of squares, times 1/k, plus eps, rsqrt.

    The gain comes first: r is positive, so the largest |x * gain| of a group times r is that of the result, and is
    found before r is.
    """
    mean = lane_sum(x * x) * inv_k
    r = rsqrt(mean + eps)
    return (x * gain) * r[..., None]


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    x, gain = inputs["x"], inputs["gain"]
    rows = x.reshape(-1, gain.shape[0])
    return {"y": normalise(rows, gain, f32(1.0 / gain.shape[0]), f32(attrs["eps"])).reshape(x.shape)}


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """The same in float64."""
    x, gain = inputs["x"], inputs["gain"]
    rows = x.reshape(-1, gain.shape[0]).astype(np.float64)
    y = rows / np.sqrt((rows * rows).mean(-1, keepdims=True) + float(attrs["eps"])) * gain
    return {"y": y.reshape(x.shape).astype(np.float32)}


def run(a: dict[str, Any]) -> None:
    """Kernel twin: `rows` rows of k elements."""
    rows, k = a["rows"], a["k"]
    x = a["x"][: rows * k].reshape(rows, k)
    a["y"][: rows * k] = normalise(x, a["gain"][:k], f32(a["inv_k"]), f32(a["eps"])).reshape(-1)


def example(rng: np.random.Generator) -> Example:
    """Random rows, some of them tiny or zero."""
    m, heads, k = int(rng.integers(1, 5)), int(rng.integers(1, 4)), int(rng.integers(1, 80))
    x = rng.normal(size=(m, heads * k)).astype(np.float32) * f32(10.0 ** rng.integers(-6, 4))
    if rng.random() < 0.2:
        x[0] = 0
    return Example({"x": x, "gain": rng.normal(size=k).astype(np.float32)}, {"eps": 1e-5})


def _work(a: dict[str, Any]) -> Work:
    """Rows are shared whole; of fewer rows than cores each core adds up all squares and has a share of the elements."""
    rows, k = a["rows"], a["k"]
    if rows >= CORES:
        return Work(flops=rows * (4 * k + 20), parallel=rows)
    return Work(flops=2 * rows * k, parallel=min(k, CORES), rows=1, row_flops=rows * (2 * k + 20))


KERNEL = Kernel(
    "rmsnorm",
    (
        Param("x", "in", "f32"),
        Param("gain", "in", "f32"),
        Param("y", "out", "f32"),
        Param("rows", "u32"),
        Param("k", "u32"),
        Param("inv_k", "f32"),
        Param("eps", "f32"),
    ),
    run,
    _work,
)
OPS = (Op("rmsnorm", "root-mean-square normalisation per row", infer, reference, ideal, (KERNEL,), example),)
