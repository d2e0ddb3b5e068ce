"""gelu_mul: y = gelu(gate) * up with GELU's tanh formula, the gated activation of Gemma (GEGLU, Shazeer 2020).

gate and up are two inputs, or the left and right halves of the rows of one, gate_up, as in silu_mul.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ops import silu_mul
from edgec.ops.gelu import gelu
from edgec.ops.numerics import F32
from edgec.ops.op import Arrays, Attrs, Kernel, Op, Types, Work
from edgec.ops.silu_mul import example, operands


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """gate and up of one type f32[m, k], or gate_up f32[m, 2 k], give f32[m, k]."""
    return silu_mul.infer(types, attrs)


def gelu_mul(gate: F32, up: F32) -> F32:
    """The definition."""
    return gelu(gate, "tanh") * up


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    return {"y": gelu_mul(*operands(inputs))}


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """The same with NumPy's tanh in float64."""
    gate, up = operands(inputs)
    gate = gate.astype(np.float64)
    inner = math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)
    return {"y": (0.5 * gate * (1.0 + np.tanh(inner)) * up).astype(np.float32)}


def run(a: dict[str, Any]) -> None:
    """Kernel twin: `rows` rows of k elements, those of gate and up `ldx` elements apart."""
    rows, k, ldx = a["rows"], a["k"], a["ldx"]
    for row in range(rows):
        at = slice(row * ldx, row * ldx + k)
        a["y"][row * k : (row + 1) * k] = gelu_mul(a["gate"][at], a["up"][at])


KERNEL = Kernel(
    "gelu_mul",
    silu_mul.KERNEL.params,
    run,
    lambda a: Work(flops=27 * a["rows"] * a["k"], parallel=a["rows"] * a["k"]),
)
OPS = (Op("gelu_mul", "gated GELU activation", infer, reference, ideal, (KERNEL,), example, in_place="gate"),)
