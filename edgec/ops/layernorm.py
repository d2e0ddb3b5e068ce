"""layernorm: y = (x - mean) / sqrt(mean((x - mean)^2) + eps) * gain + bias, per row (Ba, Kiros & Hinton 2016)."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ops.numerics import F32, f32, lane_sum, rsqrt
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, require


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """x f32[m, k] with gain and bias f32[k] gives y of x's type."""
    x, gain, bias = types["x"], types["gain"], types["bias"]
    require({x.dtype, gain.dtype, bias.dtype} == {"f32"}, "layernorm takes float32 input, gain and bias")
    require(gain.shape == x.shape[1:], f"layernorm's gain {list(gain.shape)} is not a row of {x.shape[1]}")
    require(bias.shape == x.shape[1:], f"layernorm's bias {list(bias.shape)} is not a row of {x.shape[1]}")
    return {"y": x}


def normalise(x: F32, gain: F32, bias: F32, inv_k: np.float32, eps: np.float32) -> F32:
    """The definition, on rows [m, k]: two passes, so that a mean far from zero costs no digits of the variance."""
    mean = (lane_sum(x) + f32(0)) * inv_k  # a sum of zeros is +0, whatever their signs
    d = x - mean[:, None]
    r = rsqrt(lane_sum(d * d) * inv_k + eps)
    return ((d * r[:, None]) * gain) + bias


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    x = inputs["x"]
    return {"y": normalise(x, inputs["gain"], inputs["bias"], f32(1.0 / x.shape[1]), f32(attrs["eps"]))}


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """The same in float64."""
    x = inputs["x"].astype(np.float64)
    d = x - x.mean(-1, keepdims=True)
    y = d / np.sqrt((d * d).mean(-1, keepdims=True) + float(attrs["eps"])) * inputs["gain"] + inputs["bias"]
    return {"y": y.astype(np.float32)}


def run(a: dict[str, Any]) -> None:
    """Kernel twin: `rows` rows of k elements."""
    rows, k = a["rows"], a["k"]
    x = a["x"][: rows * k].reshape(rows, k)
    a["y"][: rows * k] = normalise(x, a["gain"][:k], a["bias"][:k], f32(a["inv_k"]), f32(a["eps"])).reshape(-1)


def example(rng: np.random.Generator) -> Example:
    """Random rows, some of them tiny, constant or far from zero."""
    m, k = int(rng.integers(1, 5)), int(rng.integers(1, 80))
    x = rng.normal(size=(m, k)).astype(np.float32) * f32(10.0 ** rng.integers(-6, 4))
    if rng.random() < 0.2:
        x[0] = x[0, 0]
    if rng.random() < 0.3:
        x += np.abs(x).max() * f32(10)
    gain, bias = rng.normal(size=(2, k)).astype(np.float32)
    return Example({"x": x, "gain": gain, "bias": bias}, {"eps": 1e-5})


KERNEL = Kernel(
    "layernorm",
    (
        Param("x", "in", "f32"),
        Param("gain", "in", "f32"),
        Param("bias", "in", "f32"),
        Param("y", "out", "f32"),
        Param("rows", "u32"),
        Param("k", "u32"),
        Param("inv_k", "f32"),
        Param("eps", "f32"),
    ),
    run,
    # elements that are left of eight lanes are added up in memory
    lambda a: Work(flops=a["rows"] * (8 * a["k"] + 26 * (a["k"] % 8) + 20), parallel=a["rows"]),
)
DOC = "normalisation to mean 0 and variance 1 per row, with gain and bias"
OPS = (Op("layernorm", DOC, infer, reference, ideal, (KERNEL,), example, in_place="x"),)
