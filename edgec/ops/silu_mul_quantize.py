"""silu_mul_quantize: silu_mul and quantize_dynamic in one call, with the bits of one after the other.

What is quantised takes the place of gate, which nothing else may read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ops import quantize_dynamic, silu_mul
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work
from edgec.packing import n_groups


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """What quantize_dynamic gives of what silu_mul gives: q, scale and sums."""
    return quantize_dynamic.infer({"x": silu_mul.infer(types, attrs)["y"]}, attrs)


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    return quantize_dynamic.reference({"x": silu_mul.reference(inputs, attrs, pos)["y"]}, attrs, pos)


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """The same in float64, not quantised."""
    return quantize_dynamic.ideal({"x": silu_mul.ideal(inputs, attrs, pos)["y"]}, attrs, pos)


def run(a: dict[str, Any]) -> None:
    """Kernel twin: `rows` rows of k elements, those of gate and up `ldx` elements apart; gate is used up."""
    rows, k, ldx = a["rows"], a["k"], a["ldx"]
    y = np.zeros(rows * k, np.float32)
    silu_mul.run({**a, "y": y})
    for row in range(rows):
        a["gate"][row * ldx : row * ldx + k] = y[row * k : (row + 1) * k]
    quantize_dynamic.run({**a, "x": y})


def example(rng: np.random.Generator) -> Example:
    """silu_mul's, in groups that may exceed the row."""
    found = silu_mul.example(rng)
    return Example(found.inputs, {"group_size": int(rng.choice([8, 32, 64, 252]))})


def pieces(rows: int, k: int, group_size: int) -> int:
    """Independent pieces: those of quantize_dynamic, but a single row whose parts are no eighths is shared evenly."""
    found = quantize_dynamic.pieces(rows, k, group_size, 4)
    return max(found, quantize_dynamic.PARTS) if rows == 1 and found > n_groups(k, group_size) else found


KERNEL = Kernel(
    "silu_mul_quantize",
    (
        Param("gate", "inout", "f32"),
        Param("up", "in", "f32"),
        Param("q", "out", "i8"),
        Param("scale", "out", "f32"),
        Param("sums", "out", "i32", optional=True),
        Param("rows", "u32"),
        Param("k", "u32"),
        Param("ldx", "u32"),
        Param("group_size", "u32"),
    ),
    run,
    lambda a: Work(
        flops=15 * quantize_dynamic.evened(a["rows"], a["k"], a["group_size"], 4)
        + 10 * a["rows"] * n_groups(a["k"], a["group_size"]),
        parallel=pieces(a["rows"], a["k"], a["group_size"]),
    ),
    directed=True,
)
DOC = "gated SiLU activation and its result quantised in groups"
OPS = (Op("silu_mul_quantize", DOC, infer, reference, ideal, (KERNEL,), example),)
