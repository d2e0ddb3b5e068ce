"""gelu: y = x * Phi(x), Phi the normal distribution function (Hendrycks & Gimpel 2016), exact or in its tanh form.

Both forms are x / (1 + exp(-x * P(x^2))), with one polynomial each:

    tanh   P(z) = 2 sqrt(2/pi) (1 + 0.044715 z), which is 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
    erf    P(x^2) = log(Phi(x) / Phi(-x)) / x: a polynomial of degree 6 for z up to 5.5^2, constant beyond,
           fitted by linear programming to the smallest maximum of |error of y|, 6.8e-8

Rounding included, y is within 1.5e-7 (tanh) and 2.5e-7 (erf), or that share of a y above 1.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ops.numerics import F32, exp, f32
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, require

# Highest power first.
POLYNOMIALS = {
    "tanh": (f32(0.071354816272), f32(1.5957691216)),
    "erf": tuple(
        f32(c)
        for c in (
            3.61122792e-9,
            -2.66892595e-7,
            7.93821522e-6,
            -1.10480289e-4,
            -6.62600822e-5,
            7.26685672e-2,
            1.59576843,
        )
    ),
}
FAR = f32(30.25)  # where erf's polynomial ends


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """x f32[m, k] gives y of its type; attr form: tanh or erf."""
    require(types["x"].dtype == "f32", f"gelu of {types['x']}, not of float32")
    require(attrs.get("form") in POLYNOMIALS, f"gelu's form is tanh or erf, not {attrs.get('form')}")
    return {"y": types["x"]}


def gelu(x: F32, form: str) -> F32:
    """The definition."""
    with np.errstate(over="ignore"):  # exp clamps what is infinite
        z = x * x
        if form == "erf":
            z = np.minimum(z, FAR)
        first, *others = POLYNOMIALS[form]
        p = np.full_like(z, first)
        for c in others:
            p = p * z + c
        return x / (f32(1.0) + exp(-(x * p)))


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    return {"y": gelu(inputs["x"], str(attrs["form"]))}


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """The same in float64, with the C library's functions."""
    x = inputs["x"].astype(np.float64)
    if attrs["form"] == "tanh":
        y = 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    else:
        y = 0.5 * x * np.vectorize(math.erfc, otypes=[np.float64])(-x / math.sqrt(2.0))
    return {"y": y.astype(np.float32)}


def run(a: dict[str, Any], form: str) -> None:
    """Kernel twin: `rows` rows of k elements."""
    n = a["rows"] * a["k"]
    a["y"][:n] = gelu(a["x"][:n], form)


def example(rng: np.random.Generator) -> Example:
    """Random inputs, some of them huge."""
    shape = (int(rng.integers(1, 4)), int(rng.integers(1, 100)))
    x = rng.normal(size=shape).astype(np.float32) * f32(10.0 ** rng.integers(-3, 4))
    return Example({"x": x}, {"form": str(rng.choice(list(POLYNOMIALS)))})


def _kernel(form: str, flops: int) -> Kernel:
    return Kernel(
        f"gelu_{form}",
        (Param("x", "in", "f32"), Param("y", "out", "f32"), Param("rows", "u32"), Param("k", "u32")),
        partial(run, form=form),
        lambda a: Work(flops=flops * a["rows"] * a["k"], parallel=a["rows"] * a["k"]),
    )


KERNELS = (_kernel("tanh", 26), _kernel("erf", 37))  # an exp and a division count 22
OPS = (Op("gelu", "Gaussian error linear unit", infer, reference, ideal, KERNELS, example, in_place="x"),)
