"""add: float32 sum of two tensors (the residual connection)."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, require


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """Two tensors of one type."""
    require(types["a"] == types["b"], f"add of {types['a']} and {types['b']}")
    return {"y": types["a"]}


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    return {"y": inputs["a"] + inputs["b"]}


def run(a: dict[str, Any]) -> None:
    """Kernel twin: rows * k elements."""
    n = a["rows"] * a["k"]
    a["y"][:n] = a["a"][:n] + a["b"][:n]


def example(rng: np.random.Generator) -> Example:
    """Two random tensors."""
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 100)))
    return Example({r: rng.normal(size=shape).astype(np.float32) for r in "ab"}, {})


KERNEL = Kernel(
    "add",
    (
        Param("a", "in", "f32"),
        Param("b", "in", "f32"),
        Param("y", "out", "f32"),
        Param("rows", "u32"),
        Param("k", "u32"),
    ),
    run,
    lambda a: Work(flops=a["rows"] * a["k"], parallel=a["rows"] * a["k"]),
)
OPS = (Op("add", "float32 sum of two tensors", infer, reference, reference, (KERNEL,), example, in_place="a"),)
