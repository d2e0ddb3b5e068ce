"""rmsnorm_quantize: rmsnorm and quantize_dynamic in one call, with the bits of one after the other.

What lies between the two is never stored, and rows that one core would normalise alone are shared by their groups.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.ir.graph import Attr, TensorType
from edgec.ops import quantize_dynamic, rmsnorm
from edgec.ops.numerics import f32
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, require
from edgec.packing import n_groups


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """x f32[m, k] with gain f32[k] gives what quantize_dynamic gives of its norm: q, scale and sums."""
    x, gain = types["x"], types["gain"]
    require(gain.shape == x.shape[1:], f"rmsnorm_quantize takes a gain of {x.shape[1]}, not {gain}")
    return quantize_dynamic.infer(rmsnorm.infer(types, attrs) | {"x": x}, attrs)


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    return quantize_dynamic.reference({"x": rmsnorm.reference(inputs, attrs, pos)["y"]}, attrs, pos)


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """The norm in float64, not quantised."""
    return quantize_dynamic.ideal({"x": rmsnorm.ideal(inputs, attrs, pos)["y"]}, attrs, pos)


def run(a: dict[str, Any]) -> None:
    """Kernel twin: `rows` rows of k elements."""
    rows, k = a["rows"], a["k"]
    y = rmsnorm.normalise(a["x"][: rows * k].reshape(rows, k), a["gain"][:k], f32(a["inv_k"]), f32(a["eps"]))
    quantize_dynamic.run({**a, "x": y.reshape(-1)})


def example(rng: np.random.Generator) -> Example:
    """Random rows, some of them tiny or zero; the group may exceed the row."""
    m, k = int(rng.integers(1, 5)), int(rng.integers(1, 150))
    x = rng.normal(size=(m, k)).astype(np.float32) * f32(10.0 ** rng.integers(-6, 4))
    if rng.random() < 0.2:
        x[0] = 0
    attrs: dict[str, Attr] = {"eps": 1e-5, "group_size": int(rng.choice([8, 32, 64, 252]))}
    return Example({"x": x, "gain": rng.normal(size=k).astype(np.float32)}, attrs)


def work(a: dict[str, Any]) -> Work:
    """Squares of a single row are added up in eight lanes, beside the search for the largest, and so are those of rows
    of one group, of which a core has whole ones. Else a core that has groups of a row adds up all of its squares."""
    rows, k, group_size = a["rows"], a["k"], a["group_size"]
    groups = n_groups(k, group_size)
    elements = quantize_dynamic.evened(rows, k, group_size, 4)
    if rows > 1 and groups == 1:
        return Work(flops=rows * (15 * k // 2 + 10), parallel=rows)
    flops = 7 * elements + 10 * rows * groups
    summed = k if rows > 1 else -(-k // quantize_dynamic.PARTS)
    several = 60 if rows == 1 and group_size < k else 0  # each part of the row finds its group
    return Work(0, flops, quantize_dynamic.pieces(rows, k, group_size, 4), 0, rows, 2 * summed + 20 + several)


KERNEL = Kernel(
    "rmsnorm_quantize",
    (
        Param("x", "in", "f32"),
        Param("gain", "in", "f32"),
        Param("q", "out", "i8"),
        Param("scale", "out", "f32"),
        Param("sums", "out", "i32", optional=True),
        Param("rows", "u32"),
        Param("k", "u32"),
        Param("group_size", "u32"),
        Param("inv_k", "f32"),
        Param("eps", "f32"),
    ),
    run,
    work,
    directed=True,
)
DOC = "root-mean-square normalisation per row and its result quantised in groups"
OPS = (Op("rmsnorm_quantize", DOC, infer, reference, ideal, (KERNEL,), example),)
