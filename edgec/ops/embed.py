"""embed: rows of a packed embedding table, looked up by token id and dequantised to float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ops.numerics import F32
from edgec.ops.op import Array, Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, ints, require
from edgec.packing import n_groups, pack, row_bytes, unpack


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """tokens i32[m] and a table of packed rows give y f32[m, k]."""
    k, bits, group_size = ints(attrs, "k", "bits", "group_size")
    w = types["w"]
    require(w.shape[1] == row_bytes(k, bits, group_size), f"packed rows of {w.shape[1]} B do not hold {k} weights")
    return {"y": TensorType((types["tokens"].shape[0], k), "f32")}


def dequantize(w: Array, scale: Array, zero: Array | None, k: int, bits: int, group_size: int) -> F32:
    """(u - zero) * scale of packed rows, float32 [rows, k]."""
    size = min(k, group_size)
    u = unpack(w, k, bits, group_size).astype(np.float32)
    z = np.float32(2 ** (bits - 1)) if zero is None else np.repeat(zero.astype(np.float32), size, axis=1)[:, :k]
    out: F32 = (u - z) * np.repeat(scale.astype(np.float32), size, axis=1)[:, :k]
    return out


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    k, bits, group_size = ints(attrs, "k", "bits", "group_size")
    tokens = inputs["tokens"]
    zero = inputs.get("w_zero")
    rows, scale = inputs["w"][tokens], inputs["w_scale"][tokens]
    return {"y": dequantize(rows, scale, None if zero is None else zero[tokens], k, bits, group_size)}


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Rows of the float table."""
    return {"y": inputs["w"][inputs["tokens"]]}


def run(a: dict[str, Any]) -> None:
    """Kernel twin: `m` packed rows already gathered."""
    m, k, bits, group_size = a["m"], a["k"], a["bits"], a["group_size"]
    stride, groups = row_bytes(k, bits, group_size), n_groups(k, group_size)
    zero = None if a["w_zero"] is None else a["w_zero"][: m * groups].reshape(m, groups)
    y = dequantize(
        a["w"][: m * stride].reshape(m, stride),
        a["w_scale"][: m * groups].reshape(m, groups),
        zero,
        k,
        bits,
        group_size,
    )
    a["y"][: m * k] = y.reshape(-1)


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
    if rng.random() < 0.5:
        inputs["w_zero"] = rng.integers(0, 2**bits, size=(vocab, groups)).astype(np.uint8)
    return Example(inputs, {"k": k, "bits": bits, "group_size": group_size})


KERNEL = Kernel(
    "embed",
    (
        Param("w", "in", "u8"),
        Param("w_scale", "in", "f16"),
        Param("w_zero", "in", "u8", optional=True),
        Param("y", "out", "f32"),
        Param("m", "u32"),
        Param("k", "u32"),
        Param("bits", "u32"),
        Param("group_size", "u32"),
    ),
    run,
    lambda a: Work(flops=4 * a["m"] * a["k"], parallel=a["m"] * n_groups(a["k"], a["group_size"])),
)
OPS = (Op("embed", "rows of a packed embedding table by token id", infer, reference, ideal, (KERNEL,), example),)
