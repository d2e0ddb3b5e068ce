"""load_rows, store_rows: hidden states of a text that is longer than a run, kept between the sweeps of an encoder.

An encoder's layer needs the keys and values of all rows before it can finish the first one. So its program is cut into
sweeps (`edgec/memory/plan.py`): each runs over the whole text, some rows at a time, before the next one begins with a
load_rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, require


def infer_load(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """tokens i32[m], which say how many rows there are, and the state f32[context, k] give y f32[m, k]."""
    tokens, rows = types["tokens"], types["rows"]
    require(tokens.dtype == "i32" and rows.dtype == "f32", f"load_rows of {tokens} and {rows}, not of i32 and f32")
    return {"y": TensorType((tokens.shape[0], rows.shape[1]), "f32")}


def infer_store(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """x f32[m, k] and the state f32[context, k] give y, which is x."""
    x, rows = types["x"], types["rows"]
    require(x.dtype == "f32" and rows.dtype == "f32", f"store_rows of {x} in {rows}, not of f32")
    require(x.shape[1] == rows.shape[1], f"store_rows of rows of {x.shape[1]} in a state of {rows.shape[1]}")
    return {"y": x}


def load(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Rows pos, pos + 1, ... of the state."""
    return {"y": inputs["rows"][pos : pos + inputs["tokens"].shape[0]].copy()}


def store(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Writes rows pos, pos + 1, ... of the state."""
    x = inputs["x"]
    inputs["rows"][pos : pos + x.shape[0]] = x
    return {"y": x.copy()}


def run(a: dict[str, Any]) -> None:
    """Kernel twin: m rows, loaded already or stored afterwards by transfers."""
    n = a["m"] * a["k"]
    a["y"][:n] = a["x"][:n]


def _random(rng: np.random.Generator) -> tuple[int, int, int, Arrays]:
    m, k, pos = int(rng.integers(1, 5)), int(rng.integers(1, 60)), int(rng.integers(0, 20))
    rows = rng.normal(size=(pos + m + int(rng.integers(0, 4)), k)).astype(np.float32)
    return m, k, pos, {"rows": rows}


def example_load(rng: np.random.Generator) -> Example:
    """Some rows of a random state."""
    m, _, pos, inputs = _random(rng)
    return Example({"tokens": np.zeros(m, np.int32), **inputs}, {}, pos)


def example_store(rng: np.random.Generator) -> Example:
    """Rows into a random state."""
    m, k, pos, inputs = _random(rng)
    return Example({"x": rng.normal(size=(m, k)).astype(np.float32), **inputs}, {}, pos)


KERNEL = Kernel(
    "copy_rows",
    (Param("x", "in", "f32"), Param("y", "out", "f32"), Param("m", "u32"), Param("k", "u32")),
    run,
    lambda a: Work(flops=a["m"] * a["k"], parallel=a["m"] * a["k"]),
)
OPS = (
    Op("load_rows", "rows of a state from the run's position on", infer_load, load, load, (KERNEL,), example_load),
    Op("store_rows", "rows kept in a state", infer_store, store, store, (KERNEL,), example_store, in_place="x"),
)
