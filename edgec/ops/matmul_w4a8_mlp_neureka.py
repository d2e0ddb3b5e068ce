"""matmul_w4a8_mlp_neureka and its siblings: a gated MLP of one row in one call, on N-EUREKA and the cores.

    q, scale = what matmul_w4a8_silu_neureka gives of gate and up (w), groups of out_group elements
    y = what matmul_w4a8_neureka gives of those and down (down_w), with groups of as many inputs, and the addend

with the bits of one after the other. Where the activation has some long groups (`grouped` of the former), the
accelerator multiplies a group by down's weights while the cores still compute the last one, and never waits between the
two products. With short ones, meeting for each takes longer than it saves: 4 groups of 64 on the public model of
Siracusa took 5,860 cycles for 4,910 of two calls.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.neureka import matrix
from edgec.ops import matmul_w4a8_neureka as matmul
from edgec.ops import matmul_w4a8_silu_neureka as gated
from edgec.ops import quantize_dynamic, silu_mul
from edgec.ops.matmul_w4a8 import ideal as product
from edgec.ops.op import Array, Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, ints, require
from edgec.packing import n_groups

GATED = ("x", "x_scale", "w", "w_scale", "bias", "w_tail", "w_fold")  # operands of gate and up
DOWN = {"w": "down_w", "w_scale": "down_scale", "addend": "addend"}  # down's operands as those of a matmul


def kernel_name(bits: int, mode: str = "3x3") -> str:
    """The kernel of a width and form."""
    return f"matmul_w{bits}a8_mlp_neureka" if mode == "3x3" else "matmul_w8a8_mlp_neureka_1x1"


def parts_of(name: str) -> tuple[str, str]:
    """The ops that one of these stands for: of gate and up, and of down."""
    return name.replace("_mlp_", "_silu_"), name.replace("_mlp_", "_")


def gated_numbers(numbers: dict[str, Any]) -> dict[str, Any]:
    """Numbers of a call as those of matmul_w4a8_silu_neureka's."""
    return {key: value for key, value in numbers.items() if not key.startswith("down_")}


def down_numbers(name: str, width: int, n: int, out_group: int, first: int) -> dict[str, int]:
    """Numbers of down in a call: sizes, and a job of all channels as the engine takes it."""
    numbers = matmul.call_numbers(parts_of(name)[1], n, width, out_group, n, n)
    job = {f"down_{key}": numbers[key] for key in ("n", "line", *matmul.JOB)}
    return job | {"down_first": first}


def down_call(name: str, numbers: dict[str, Any]) -> dict[str, int]:
    """Down's call where it is one of its own: its accumulators are of all channels."""
    n, width = int(numbers["down_n"]), int(numbers["n"]) // gated.PARTS
    return matmul.call_numbers(parts_of(name)[1], n, width, int(numbers["out_group"]), n, n) | {"m": 1}


def infer_for(bits: int, mode: str) -> Any:
    """The type rule of one width and form."""
    activation, multiplied = gated.infer_for(bits, mode), matmul.infer_for(bits, mode)

    def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
        require(types["x"].shape[0] == 1, f"an MLP in one call of {types['x']}, not of one row")
        found = activation({role: types[role] for role in GATED if role in types}, attrs)
        down = {role: types[mine] for role, mine in DOWN.items() if mine in types}
        given: Types = {**down, "x": found["q"], "x_scale": found["scale"]}
        y: dict[str, TensorType] = multiplied(given, down_attrs(types, attrs))
        return y

    return infer


def down_attrs(types: Types, attrs: Attrs) -> Attrs:
    """The matmul attributes of down."""
    return {"k": types["w_scale"].shape[0] // gated.PARTS, "group_size": attrs["out_group"]}


def reference_for(bits: int, mode: str) -> Any:
    """The bit-exact definition of one width: one after the other. prepared, down_prepared: as a matmul's."""
    activation, multiplied = gated.reference_for(bits, mode), matmul.reference_for(bits, mode)

    def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
        found = activation({r: inputs[r] for r in (*GATED, "prepared") if r in inputs}, attrs, pos)
        down = {r: inputs[mine] for r, mine in {**DOWN, "prepared": "down_prepared"}.items() if mine in inputs}
        k = inputs["w_scale"].shape[0] // gated.PARTS
        given: Arrays = {**down, "x": found["q"], "x_scale": found["scale"]}
        y: Arrays = multiplied(given, {"k": k, "group_size": attrs["out_group"]}, pos)
        return y

    return reference


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """In float, not quantised."""
    gate_up = product({r: inputs[r] for r in GATED if r in inputs}, attrs, pos)["y"]
    v = silu_mul.ideal({"gate_up": gate_up}, {}, pos)["y"]
    x = quantize_dynamic.ideal({"x": v}, gated.out_attrs(attrs), pos)["q"]
    down = {role: inputs[mine] for role, mine in DOWN.items() if mine in inputs}
    return product({**down, "x": x}, {"k": v.shape[1], "group_size": attrs["out_group"]}, pos)


def run_for(bits: int, mode: str) -> Any:
    """Kernel twin of one width. The memory of scratch is not followed: it ends as it began."""
    activation, multiplied = gated.run_for(bits, mode), matmul.run_for(bits, mode)
    name = kernel_name(bits, mode)

    def run(a: dict[str, Any]) -> None:
        width = a["n"] // gated.PARTS
        groups = n_groups(width, a["out_group"])
        q, scale = np.zeros(width, np.int8), np.zeros(groups, np.float32)
        activation({**a, "q": q, "scale": scale, "sums": None})
        down: dict[str, Any] = {**down_call(name, a), "x": q, "x_scale": scale}
        down |= dict.fromkeys(("bias", "w_tail", "w_fold"))
        down["y"] = a["y"]
        multiplied(down | {role: a[mine] for role, mine in DOWN.items()})

    return run


def example_for(bits: int, mode: str) -> Any:
    """matmul_w4a8_silu_neureka's of one row, and a down of its groups."""

    def example(rng: np.random.Generator) -> Example:
        made = gated.example_for(bits, mode)
        while True:
            found = made(rng)
            width = found.inputs["w_scale"].shape[0] // gated.PARTS
            out_group = int(rng.choice([width, matrix.STEP[mode], 1000]))
            if matrix.suits(width, out_group, mode):
                break
        n = int(rng.integers(1, 60))
        inputs: dict[str, Array] = {**found.inputs}
        inputs |= {role: inputs[role][:1] for role in ("x", "x_scale")}
        u = rng.integers(0, 2**bits, size=(n, width)).astype(np.uint8)
        inputs["down_w"] = matrix.encode(u, bits, out_group, mode)
        inputs["down_scale"] = (rng.normal(size=(n, n_groups(width, out_group))) * 0.01).astype(np.float16)
        if rng.random() < 0.5:
            inputs["addend"] = rng.normal(size=(1, n)).astype(np.float32)
        return Example(inputs, {**found.attrs, "out_group": out_group})

    return example


def work(a: dict[str, Any]) -> Work:
    """Of both."""
    (k,) = ints(a, "k")
    width, down_n, out_group = int(a["n"]) // gated.PARTS, int(a["down_n"]), int(a["out_group"])
    first = gated.work(gated_numbers(a))
    flops = 3 * down_n * n_groups(width, out_group)
    return Work(macs=int(a["n"]) * k + width * down_n, flops=first.flops + flops, parallel=width)


def _gated_params() -> tuple[Param, ...]:
    """matmul_w4a8_silu_neureka's, whose results stay here: v for y, and no sums."""
    kernel = gated.OPS[0].kernels[0]
    names = {"y": "v"}
    return tuple(replace(p, name=names.get(p.name, p.name)) for p in kernel.params if p.name != "sums")


def _op(bits: int, mode: str = "3x3") -> Op:
    kernel = Kernel(
        kernel_name(bits, mode),
        (
            *_gated_params(),
            Param("down_w", "in", "u8"),
            Param("down_scale", "in", "f16"),
            Param("down_acc", "out", "i32"),
            Param("addend", "in", "f32", optional=True),
            Param("y", "out", "f32"),
            *(Param(f"down_{name}", "u32") for name in ("n", "first", "line", *matmul.JOB)),
        ),
        run_for(bits, mode),
        work,
        directed=True,
        engine="neureka",
        streamed=("w", "w_fold", "down_w"),
        scratch=("acc", "v", "q", "scale", "down_acc", "fold_acc"),
        uses=("matmul_w4a8_silu_neureka", "matmul_w4a8_neureka"),
    )
    doc = f"a gated MLP of one row with {bits}-bit weights on N-EUREKA in {mode} form, in one call"
    rules = infer_for(bits, mode), reference_for(bits, mode), ideal, (kernel,), example_for(bits, mode)
    return Op(kernel.name, doc, *rules, in_place="addend")


OPS = (*(_op(bits) for bits in matmul.WIDTHS), _op(8, "1x1"))
