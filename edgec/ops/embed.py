"""embed: rows of a packed embedding table, looked up by token id, dequantised to float32 and times a `factor`.

The factor (1 unless it is given) is not in the table, as a head may be tied to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.ir.graph import Attr, TensorType
from edgec.ops.numerics import F32, f32
from edgec.ops.op import CORES, Array, Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, ints, require
from edgec.packing import block_elements, n_groups, pack, row_bytes, unpack

ROLES = ("w", "w_scale", "w_zero", "w_min")  # what is looked up: a row each per token
FORMS = ("embed", "embed_neureka", "embed_neureka_1x1")  # ops that look tokens up, by what the table's rows are


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """tokens i32[m] and a table of packed rows give y f32[m, k]."""
    k, bits, group_size = ints(attrs, "k", "bits", "group_size")
    w = types["w"]
    require(w.shape[1] == row_bytes(k, bits, group_size), f"packed rows of {w.shape[1]} B do not hold {k} weights")
    sides = (w.shape[0], n_groups(k, group_size))
    for role in ROLES[1:]:
        require(role not in types or types[role].shape == sides, f"{role} {types.get(role)} is not {list(sides)}")
    require("w_zero" not in types or "w_min" not in types, "weights have zero points or minima, not both")
    return {"y": TensorType((types["tokens"].shape[0], k), "f32")}


def dequantize(
    w: Array, scale: Array, zero: Array | None, k: int, bits: int, group_size: int, minimum: Array | None = None
) -> F32:
    """(u - zero) * scale of packed rows, or u * scale + minimum: float32 [rows, k]."""
    u = unpack(w, k, bits, group_size).astype(np.float32)

    def every(side: Array) -> F32:
        """A value per group as one per weight."""
        return np.repeat(side.astype(np.float32), min(k, group_size), axis=1)[:, :k]

    if minimum is not None:
        return u * every(scale) + every(minimum)
    return (u - (np.float32(2 ** (bits - 1)) if zero is None else every(zero))) * every(scale)


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    k, bits, group_size = ints(attrs, "k", "bits", "group_size")
    rows: dict[str, Array] = {role: inputs[role][inputs["tokens"]] for role in ROLES if role in inputs}
    zero, minimum = rows.get("w_zero"), rows.get("w_min")
    return {"y": dequantize(rows["w"], rows["w_scale"], zero, k, bits, group_size, minimum) * _factor(attrs)}


def _factor(attrs: Attrs) -> np.float32:
    return f32(attrs.get("factor", 1.0))


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Rows of the float table."""
    return {"y": inputs["w"][inputs["tokens"]] * _factor(attrs)}


def run(a: dict[str, Any]) -> None:
    """Kernel twin: `m` packed rows already gathered."""
    m, k, bits, group_size = a["m"], a["k"], a["bits"], a["group_size"]
    stride, groups = row_bytes(k, bits, group_size), n_groups(k, group_size)
    scale, zero, minimum = (
        None if a[role] is None else a[role][: m * groups].reshape(m, groups) for role in ("w_scale", "w_zero", "w_min")
    )
    assert scale is not None
    y = dequantize(a["w"][: m * stride].reshape(m, stride), scale, zero, k, bits, group_size, minimum)
    a["y"][: m * k] = y.reshape(-1) * f32(a["factor"])


def example(rng: np.random.Generator) -> Example:
    """A random table of a random width."""
    m, vocab, k = int(rng.integers(1, 5)), int(rng.integers(1, 30)), int(rng.integers(1, 100))
    bits, group_size = int(rng.integers(2, 9)), int(rng.choice([8, 32, 64, 252]))
    groups = n_groups(k, group_size)
    inputs: Arrays = {
        "tokens": rng.integers(0, vocab, size=m).astype(np.int32),
        "w": pack(rng.integers(0, 2**bits, size=(vocab, k)).astype(np.uint8), bits, group_size),
        "w_scale": rng.normal(size=(vocab, groups)).astype(np.float16),
    }
    offset = rng.choice(["w_zero", "w_min", ""])
    if offset == "w_zero":
        inputs["w_zero"] = rng.integers(0, 2**bits, size=(vocab, groups)).astype(np.uint8)
    if offset == "w_min":
        inputs["w_min"] = rng.normal(size=(vocab, groups)).astype(np.float16)
    attrs: dict[str, Attr] = {"k": k, "bits": bits, "group_size": group_size}
    if rng.random() < 0.3:
        attrs["factor"] = float(rng.choice([0.5, 25.298221]))
    return Example(inputs, attrs)


# Float operations of an element of four cycles, by bits.
ELEMENT, ELEMENT_OF_PLANES = {2: 4.1, 4: 4.1, 8: 3.3}, 6.3


def _work(a: dict[str, Any]) -> Work:
    """Groups are shared whole; where they are fewer than the cores, each is cut into a piece a core, of whole blocks of
    its width. The first pieces of a group have the most. An element is put together of the parts of it that its width's
    planes have.
    """
    m, k, block = a["m"], a["k"], block_elements(a["bits"])
    element = ELEMENT.get(a["bits"], ELEMENT_OF_PLANES)
    groups = m * n_groups(k, a["group_size"])
    if groups >= CORES:
        return Work(flops=round(element * m * k), parallel=groups)
    blocks = -(-min(k, a["group_size"]) // block)
    busiest = groups * (blocks // CORES) + min(groups, blocks % CORES)
    return Work(flops=round(element * CORES * busiest * block), parallel=groups * CORES)


KERNEL = Kernel(
    "embed",
    (
        Param("w", "in", "u8"),
        Param("w_scale", "in", "f16"),
        Param("w_zero", "in", "u8", optional=True),
        Param("w_min", "in", "f16", optional=True),
        Param("y", "out", "f32"),
        Param("m", "u32"),
        Param("k", "u32"),
        Param("bits", "u32"),
        Param("group_size", "u32"),
        Param("factor", "f32"),
    ),
    run,
    _work,
)
OPS = (Op("embed", "rows of a packed embedding table by token id", infer, reference, ideal, (KERNEL,), example),)
