"""matmul_w4a8_silu_neureka and its siblings: gate and up on N-EUREKA, silu_mul and quantize_dynamic in one call.

    y[m, n] = what matmul_w4a8_neureka gives of gate and up, the upper and the lower half of the matrix
    q, scale, sums = quantize_dynamic(silu(y[:, : n / 2]) * y[:, n / 2 :])

with the bits of one after the other. A tile is of the same channels of gate and of up: while the accelerator multiplies
a tile, the cores scale and multiply the one before, so the activation takes the time of a matmul that ran anyway.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.ir.graph import Attr, TensorType
from edgec.ops import matmul_w4a8_neureka as matmul
from edgec.ops import quantize_dynamic, silu_mul
from edgec.ops.matmul_w4a8 import ideal as product
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, require
from edgec.packing import n_groups

PARTS = 2  # of the matrix: gate and up
GROUPS_MOST, GROUP_LEAST = 4, 128  # groups of a row that are quantised one by one, and elements of one


def kernel_name(bits: int, mode: str = "3x3") -> str:
    """The kernel of a width and form."""
    return f"matmul_w{bits}a8_silu_neureka" if mode == "3x3" else "matmul_w8a8_silu_neureka_1x1"


def grouped(width: int, out_group: int) -> bool:
    """Whether groups of a row of so many elements are quantised one by one, not all behind the last one."""
    long = GROUP_LEAST <= out_group < width <= GROUPS_MOST * out_group
    return long and out_group % 2 == 0 and width % 2 == 0


def out_attrs(attrs: Attrs) -> Attrs:
    """quantize_dynamic's."""
    return {"group_size": attrs["out_group"]}


def infer_for(bits: int, mode: str) -> Any:
    """The type rule of one width and form."""
    rule = matmul.infer_for(bits, mode)

    def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
        require("addend" not in types, "a residual cannot be added to gate and up")
        y = rule(types, attrs)["y"]
        require(y.shape[1] % PARTS == 0, f"{y.shape[1]} channels are not those of gate and up")
        return quantize_dynamic.infer({"x": silu_mul.infer({"gate_up": y}, {})["y"]}, out_attrs(attrs))

    return infer


def reference_for(bits: int, mode: str) -> Any:
    """The bit-exact definition of one width: one after the other."""
    rule = matmul.reference_for(bits, mode)

    def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
        y = rule(inputs, attrs, pos)["y"]
        v = silu_mul.reference({"gate_up": y}, {}, pos)["y"]
        return quantize_dynamic.reference({"x": v}, out_attrs(attrs), pos)

    return reference


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """In float, not quantised."""
    y = product(inputs, attrs, pos)["y"]
    return quantize_dynamic.ideal({"x": silu_mul.ideal({"gate_up": y}, {}, pos)["y"]}, out_attrs(attrs), pos)


def run_for(bits: int, mode: str) -> Any:
    """Kernel twin of one width. The memory of acc and y is not followed: it ends as it began."""
    rule = matmul.run_for(bits, mode)

    def run(a: dict[str, Any]) -> None:
        m, width = a["m"], a["n"] // PARTS
        y = np.zeros(m * a["n"], np.float32)
        rule({**a, "y": y, "addend": None})
        v = np.zeros(m * width, np.float32)
        silu_mul.run({"gate": y, "up": y[width:], "y": v, "rows": m, "k": width, "ldx": a["n"]})
        quantize_dynamic.run({**a, "x": v, "rows": m, "k": width, "group_size": a["out_group"]})

    return run


def example_for(bits: int, mode: str) -> Any:
    """matmul_w4a8_neureka's, of an even number of channels and without a residual."""

    def example(rng: np.random.Generator) -> Example:
        found = matmul.example_for(bits, mode)(rng)
        while found.inputs["w_scale"].shape[0] % PARTS:
            found = matmul.example_for(bits, mode)(rng)
        inputs = {role: value for role, value in found.inputs.items() if role != "addend"}
        inputs["w_scale"] = (rng.normal(size=inputs["w_scale"].shape) * 0.01).astype(np.float16)
        attrs: dict[str, Attr] = {**found.attrs, "out_group": int(rng.choice([8, 32, 64, 252]))}
        return Example(inputs, attrs)

    return example


def work(a: dict[str, Any]) -> Work:
    """The matmul's, and the gated activation's."""
    m, n, k, group_size, out_group = (int(a[key]) for key in ("m", "n", "k", "group_size", "out_group"))
    width = n // PARTS
    flops = 3 * m * n * n_groups(k, group_size) + 15 * m * width + 10 * m * n_groups(width, out_group)
    return Work(macs=m * n * k, flops=flops, parallel=width)


def _op(bits: int, mode: str = "3x3") -> Op:
    kernel = Kernel(
        kernel_name(bits, mode),
        (
            *matmul.PARAMS,
            Param("q", "out", "i8"),
            Param("scale", "out", "f32"),
            Param("sums", "out", "i32", optional=True),
            Param("out_group", "u32"),
        ),
        run_for(bits, mode),
        work,
        directed=True,
        engine="neureka",
        streamed=("w", "w_fold"),
        scratch=("acc", "y", "fold_acc"),
        uses=("matmul_w4a8_neureka",),
    )
    doc = f"gate and up of {bits}-bit weights on N-EUREKA in {mode} form, SiLU by the cores meanwhile, quantised"
    rules = infer_for(bits, mode), reference_for(bits, mode), ideal, (kernel,), example_for(bits, mode)
    return Op(kernel.name, doc, *rules)


OPS = (*(_op(bits) for bits in matmul.WIDTHS), _op(8, "1x1"))
