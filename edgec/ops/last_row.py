"""last_row: the last row of a run, the only one whose logits are wanted after a prefill."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, require


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """x f32[m, k] gives y f32[1, k]."""
    x = types["x"]
    require(x.dtype == "f32", f"last_row takes float32 rows, not {x}")
    return {"y": TensorType((1, x.shape[1]), "f32")}


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    return {"y": inputs["x"][-1:].copy()}


def run(a: dict[str, Any]) -> None:
    """Kernel twin."""
    m, k = a["m"], a["k"]
    a["y"][:k] = a["x"][(m - 1) * k : m * k]


def example(rng: np.random.Generator) -> Example:
    """Random rows."""
    return Example({"x": rng.normal(size=(int(rng.integers(1, 5)), int(rng.integers(1, 60)))).astype(np.float32)}, {})


KERNEL = Kernel(
    "last_row",
    (Param("x", "in", "f32"), Param("y", "out", "f32"), Param("m", "u32"), Param("k", "u32")),
    run,
    lambda a: Work(flops=a["k"], parallel=a["k"]),
)
OPS = (Op("last_row", "the last row of a run", infer, reference, reference, (KERNEL,), example),)
