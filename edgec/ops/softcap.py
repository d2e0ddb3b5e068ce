"""softcap: y = cap tanh(x / cap), elementwise: the bound on Gemma 2's logits (Bello et al. 2016)."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ops.numerics import capped, f32
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, require


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """x f32[m, k] gives y of its type; cap is above 0."""
    x = types["x"]
    require(x.dtype == "f32", f"softcap takes float32 input, not {x}")
    require(float(attrs["cap"]) > 0, f"softcap needs a cap above 0, not {attrs['cap']}")
    return {"y": x}


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    return {"y": capped(inputs["x"], f32(attrs["cap"]))}


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """The same with NumPy's tanh in float64."""
    cap = float(attrs["cap"])
    return {"y": (cap * np.tanh(inputs["x"].astype(np.float64) / cap)).astype(np.float32)}


def run(a: dict[str, Any]) -> None:
    """Kernel twin: n elements."""
    a["y"][: a["n"]] = capped(a["x"][: a["n"]], f32(a["cap"]))


def example(rng: np.random.Generator) -> Example:
    """Elements far below and far above the cap."""
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 100)))
    x = rng.normal(size=shape).astype(np.float32) * f32(10.0 ** rng.integers(-3, 4))
    return Example({"x": x}, {"cap": float(rng.choice([0.5, 30.0, 50.0]))})


KERNEL = Kernel(
    "softcap",
    (Param("x", "in", "f32"), Param("y", "out", "f32"), Param("n", "u32"), Param("cap", "f32")),
    run,
    lambda a: Work(flops=24 * a["n"], parallel=a["n"]),
)
OPS = (Op("softcap", "tanh bound of every element", infer, reference, ideal, (KERNEL,), example, in_place="x"),)
