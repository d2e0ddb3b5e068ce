"""add_positions: y = x + the table's rows from the run's position on (learned positions, Gehring et al. 2017).

The table is of binary16: its rounding, 2^-12 of an element, is below that of an int8 embedding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, require


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """x f32[m, k] and a table f16[positions, k] give y of x's type."""
    x, table = types["x"], types["table"]
    require(x.dtype == "f32" and table.dtype == "f16", f"add_positions of {x} and {table}, not of f32 and f16")
    require(x.shape[1] == table.shape[1], f"add_positions of rows of {x.shape[1]} and a table of {table.shape[1]}")
    return {"y": x}


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    x = inputs["x"]
    return {"y": x + inputs["table"][pos : pos + x.shape[0]].astype(np.float32)}


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """The same: the table's rounding is far below int8's."""
    return reference(inputs, attrs, pos)


def run(a: dict[str, Any]) -> None:
    """Kernel twin: the table's rows of the m positions already gathered."""
    n = a["m"] * a["k"]
    a["y"][:n] = a["x"][:n] + a["table"][:n].astype(np.float32)


def example(rng: np.random.Generator) -> Example:
    """Random rows at a random position."""
    m, k, pos = int(rng.integers(1, 5)), int(rng.integers(1, 60)), int(rng.integers(0, 50))
    x = rng.normal(size=(m, k)).astype(np.float32)
    table = rng.normal(size=(pos + m + int(rng.integers(0, 3)), k)).astype(np.float16)
    return Example({"x": x, "table": table}, {}, pos)


KERNEL = Kernel(
    "add_positions",
    (
        Param("x", "in", "f32"),
        Param("table", "in", "f16"),
        Param("y", "out", "f32"),
        Param("m", "u32"),
        Param("k", "u32"),
    ),
    run,
    lambda a: Work(flops=3 * a["m"] * a["k"], parallel=a["m"] * a["k"]),
)
DOC = "learned position embeddings from a constant table"
OPS = (Op("add_positions", DOC, infer, reference, ideal, (KERNEL,), example, in_place="x"),)
