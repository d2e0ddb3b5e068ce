"""pool: one vector for a text: the mean of its rows, or its first row (the [CLS] token; Reimers & Gurevych 2019).

    sum += each row, ascending; at position 0 it starts anew        y = sum * (1 / (pos + m))        mode mean
    sum = the row at position 0                                     y = sum                          mode first

The sum is a state, so rows may come in runs of any size; behind the last one y is the text's vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.ir.graph import Attr, TensorType
from edgec.ops.numerics import F32, f32
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, require

MODES = ("mean", "first")


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """x f32[m, k] and the state sum f32[1, k] give y f32[1, k]; attr mode: mean or first."""
    x, total = types["x"], types["sum"]
    require(x.dtype == "f32" and total.dtype == "f32", f"pool of {x} and {total}, not of f32")
    require(total.shape == (1, x.shape[1]), f"pool's sum {total} is not one row of {x.shape[1]}")
    require(attrs.get("mode") in MODES, f"pool's mode is mean or first, not {attrs.get('mode')}")
    return {"y": total}


def pooled(x: F32, before: F32, pos: int, mean: bool) -> tuple[F32, F32]:
    """The definition: the sum [k] behind rows x [m, k] at position pos, and y [k]."""
    if not mean:
        first = x[0].copy() if pos == 0 else before.copy()
        return first, first
    total = np.zeros_like(before) if pos == 0 else before.copy()
    for row in x:
        total = total + row
    return total, total * (f32(1.0) / f32(pos + len(x)))


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition; changes the sum."""
    inputs["sum"][0], y = pooled(inputs["x"], inputs["sum"][0], pos, attrs["mode"] == "mean")
    return {"y": y[None].copy()}


def run(a: dict[str, Any]) -> None:
    """Kernel twin."""
    m, k = a["m"], a["k"]
    a["sum"][:k], a["y"][:k] = pooled(a["x"][: m * k].reshape(m, k), a["sum"][:k], a["pos"], bool(a["mean"]))


def example(rng: np.random.Generator) -> Example:
    """Random rows at the start of a text or behind others."""
    m, k, pos = int(rng.integers(1, 6)), int(rng.integers(1, 60)), int(rng.choice([0, 0, 3, 40]))
    x, total = rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=(1, k)).astype(np.float32)
    attrs: dict[str, Attr] = {"mode": str(rng.choice(MODES))}
    return Example({"x": x, "sum": total}, attrs, pos)


KERNEL = Kernel(
    "pool",
    (
        Param("x", "in", "f32"),
        Param("sum", "inout", "f32"),
        Param("y", "out", "f32"),
        Param("m", "u32"),
        Param("k", "u32"),
        Param("pos", "u32"),
        Param("mean", "u32"),
    ),
    run,
    # of a column: its sum and its result, a division where it is the mean, and the rows that are added up
    lambda a: Work(flops=(a["m"] + 4 if a["mean"] else 3) * a["k"], parallel=a["k"]),
)
DOC = "the mean of a text's rows, or its first row"
OPS = (Op("pool", DOC, infer, reference, reference, (KERNEL,), example),)
