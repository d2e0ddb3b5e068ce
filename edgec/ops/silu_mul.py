"""silu_mul: y = gate * sigmoid(gate) * up, the gated activation of LLaMA's feed-forward network (Shazeer 2020).

gate and up are two inputs, or the left and right halves of the rows of one, gate_up.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ops.numerics import F32, f32, silu
from edgec.ops.op import CORES, Array, Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, require


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """gate and up of one type f32[m, k], or gate_up f32[m, 2 k], give f32[m, k]."""
    if both := types.get("gate_up"):
        require(both.shape[1] % 2 == 0, f"gate and up in rows of {both.shape[1]}, which have no halves")
        return {"y": TensorType((both.shape[0], both.shape[1] // 2), "f32")}
    require(types["gate"] == types["up"], f"gate {types['gate']} with up {types['up']}")
    return {"y": types["gate"]}


def operands(inputs: Arrays) -> tuple[Array, Array]:
    """gate and up of either form."""
    if "gate_up" in inputs:
        gate, up = np.split(inputs["gate_up"], 2, axis=1)
        return gate, up
    return inputs["gate"], inputs["up"]


def silu_mul(gate: F32, up: F32) -> F32:
    """The definition."""
    return silu(gate) * up


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    return {"y": silu_mul(*operands(inputs))}


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """The same with NumPy's exp in float64."""
    gate, up = operands(inputs)
    gate = gate.astype(np.float64)
    return {"y": (gate / (1.0 + np.exp(np.minimum(-gate, 700.0))) * up).astype(np.float32)}


def run(a: dict[str, Any]) -> None:
    """Kernel twin: `rows` rows of k elements, those of gate and up `ldx` elements apart."""
    rows, k, ldx = a["rows"], a["k"], a["ldx"]
    for row in range(rows):
        at = slice(row * ldx, row * ldx + k)
        a["y"][row * k : (row + 1) * k] = silu_mul(a["gate"][at], a["up"][at])


def example(rng: np.random.Generator) -> Example:
    """Random gates, some of them huge."""
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 100)))
    gate = rng.normal(size=shape).astype(np.float32) * f32(10.0 ** rng.integers(-3, 4))
    up = rng.normal(size=shape).astype(np.float32)
    if rng.random() < 0.5:
        return Example({"gate_up": np.concatenate([gate, up], axis=1)}, {})
    return Example({"gate": gate, "up": up}, {})


KERNEL = Kernel(
    "silu_mul",
    (
        Param("gate", "in", "f32"),
        Param("up", "in", "f32"),
        Param("y", "out", "f32"),
        Param("rows", "u32"),
        Param("k", "u32"),
        Param("ldx", "u32"),
    ),
    run,
    # a core's elements lie in some rows, each of which it begins anew
    lambda a: Work(
        flops=10 * a["rows"] * a["k"],
        parallel=a["rows"] * a["k"],
        rows=1,
        row_flops=60 * min(a["rows"], -(-a["rows"] // CORES) + 1),
    ),
)
OPS = (Op("silu_mul", "gated SiLU activation", infer, reference, ideal, (KERNEL,), example, in_place="gate"),)
