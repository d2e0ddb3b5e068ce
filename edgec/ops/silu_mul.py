"""silu_mul: y = gate / (1 + exp(-gate)) * up, the gated activation of LLaMA's feed-forward network (Shazeer 2020)."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ops.numerics import F32, exp, f32
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, require


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """gate and up of one type."""
    require(types["gate"] == types["up"], f"silu_mul of {types['gate']} and {types['up']}")
    return {"y": types["gate"]}


def silu_mul(gate: F32, up: F32) -> F32:
    """The definition."""
    return (gate / (f32(1.0) + exp(-gate))) * up


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    return {"y": silu_mul(inputs["gate"], inputs["up"])}


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """The same with NumPy's exp in float64."""
    gate = inputs["gate"].astype(np.float64)
    return {"y": (gate / (1.0 + np.exp(np.minimum(-gate, 700.0))) * inputs["up"]).astype(np.float32)}


def run(a: dict[str, Any]) -> None:
    """Kernel twin: rows * k elements."""
    n = a["rows"] * a["k"]
    a["y"][:n] = silu_mul(a["gate"][:n], a["up"][:n])


def example(rng: np.random.Generator) -> Example:
    """Random gates, some of them huge."""
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 100)))
    gate = rng.normal(size=shape).astype(np.float32) * f32(10.0 ** rng.integers(-3, 4))
    return Example({"gate": gate, "up": rng.normal(size=shape).astype(np.float32)}, {})


KERNEL = Kernel(
    "silu_mul",
    (
        Param("gate", "in", "f32"),
        Param("up", "in", "f32"),
        Param("y", "out", "f32"),
        Param("rows", "u32"),
        Param("k", "u32"),
    ),
    run,
    lambda a: Work(flops=24 * a["rows"] * a["k"], parallel=a["rows"] * a["k"]),
)
OPS = (Op("silu_mul", "gated SiLU activation", infer, reference, ideal, (KERNEL,), example, in_place="gate"),)
