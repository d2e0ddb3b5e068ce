"""quantize_dynamic: float rows to int8 in groups, scale = absmax/127 per row and group; and the groups' sums.

Ties round to even. The groups are those of the weights that the activations meet: a large element coarsens its own
group only. (One scale a row costs SmolLM2-135M 4 % of perplexity with 8-bit weights, one per 64 elements 0.3 %.)
Weights are stored unsigned with a zero point, and sum((u - zero) x) = sum(u x) - zero * sum(x): `sums` is the last
factor, computed once for all matrices that read x.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.ir.graph import TensorType
from edgec.ops.numerics import F32, I32, ONE_127TH, f32, rint_i32
from edgec.ops.op import CORES, Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, ints, require
from edgec.packing import n_groups

PARTS = 8  # of a single row, by all cores together (kernels/common/edgec_parts_xpulpv2.h)


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """x f32[m, k] gives q i8[m, k], scale f32[m, groups] and sums i32[m, groups]."""
    x = types["x"]
    require(x.dtype == "f32" and len(x.shape) == 2, f"quantize_dynamic takes float32 rows, not {x}")
    shape = (x.shape[0], n_groups(x.shape[1], ints(attrs, "group_size")[0]))
    return {"q": TensorType(x.shape, "i8"), "scale": TensorType(shape, "f32"), "sums": TensorType(shape, "i32")}


def quantize_rows(x: F32) -> tuple[NDArray[np.int8], F32]:
    """q and scale of groups [..., size]; a group of zeros has scale 0 and q 0.

    So has, but for its scale, a group whose absmax is below 3.8e-37, where 127 / absmax is infinite: its q are 0.
    """
    amax = np.abs(x).max(axis=-1)
    with np.errstate(over="ignore", invalid="ignore"):
        inv = np.divide(f32(127.0), amax, out=np.zeros_like(amax), where=amax > 0)
        return rint_i32(x * inv[..., None]).astype(np.int8), amax * ONE_127TH


def quantize_groups(x: F32, group_size: int) -> tuple[NDArray[np.int8], F32, I32]:
    """q [m, k], scale [m, groups] and sums [m, groups] of rows [m, k]; the last group may be shorter."""
    m, k = x.shape
    size = min(group_size, k)
    groups = n_groups(k, size)
    if groups * size != k:
        x = np.concatenate([x, np.zeros((m, groups * size - k), np.float32)], axis=1)
    q, scale = quantize_rows(x.reshape(m, groups, size))
    return q.reshape(m, -1)[:, :k], scale, q.sum(axis=2, dtype=np.int32)


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    q, scale, sums = quantize_groups(inputs["x"], ints(attrs, "group_size")[0])
    return {"q": q, "scale": scale, "sums": sums}


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """No quantisation: the values themselves, scale 1; sums are of no use to the float model."""
    x = inputs["x"]
    shape = (x.shape[0], n_groups(x.shape[1], ints(attrs, "group_size")[0]))
    return {"q": x, "scale": np.ones(shape, np.float32), "sums": np.zeros(shape, np.int32)}


def run(a: dict[str, Any]) -> None:
    """Kernel twin: `rows` rows of k elements."""
    rows, k = a["rows"], a["k"]
    q, scale, sums = quantize_groups(a["x"][: rows * k].reshape(rows, k), a["group_size"])
    a["q"][: rows * k] = q.reshape(-1)
    a["scale"][: scale.size] = scale.reshape(-1)
    if a["sums"] is not None:
        a["sums"][: sums.size] = sums.reshape(-1)


def pieces(rows: int, k: int, group_size: int, most: int) -> int:
    """Independent pieces of a call that quantises: groups, or the parts of a single row of at most `most` groups."""
    groups = n_groups(k, group_size)
    cut = 32 * -(-k // 32) if groups == 1 else group_size << (groups - 1).bit_length()  # into eight parts of pairs
    if rows > 1 or groups > most or k % 2 or cut % (2 * PARTS):
        return rows * groups
    return -(-k // (cut // PARTS))


def evened(rows: int, k: int, group_size: int, most: int) -> int:
    """Elements of a call, were those of every core as many as the busiest one's: a row's last group may be short."""
    groups, count = n_groups(k, group_size), pieces(rows, k, group_size, most)
    if groups == 1 or count != rows * groups:
        return rows * k
    units = -(-count // CORES)
    busiest = units * group_size - units // groups * (groups * group_size - k)
    return busiest * count // units


def example(rng: np.random.Generator) -> Example:
    """Random rows over many magnitudes, some of them zero; the group may exceed the row."""
    m, k = int(rng.integers(1, 5)), int(rng.integers(1, 150))
    x = rng.normal(size=(m, k)).astype(np.float32) * f32(10.0 ** rng.integers(-20, 20))
    if rng.random() < 0.3:
        x[0] = 0
    return Example({"x": x}, {"group_size": int(rng.choice([8, 32, 64, 252]))})


def work(a: dict[str, Any]) -> Work:
    """An element of a row that all cores share takes 1.5 times as long: two have one float unit and do the same."""
    rows, k, group_size = a["rows"], a["k"], a["group_size"]
    groups, parts = n_groups(k, group_size), pieces(rows, k, group_size, 2)
    flops = 15 * k // 2 if rows == 1 and parts > groups else 5 * evened(rows, k, group_size, 2)
    uneven = 110 if rows == 1 and groups > 1 and k % group_size else 0  # each part of the row finds its group
    return Work(flops=flops + 10 * rows * groups, parallel=parts, rows=1, row_flops=uneven)


KERNEL = Kernel(
    "quantize_dynamic",
    (
        Param("x", "in", "f32"),
        Param("q", "out", "i8"),
        Param("scale", "out", "f32"),
        Param("sums", "out", "i32", optional=True),
        Param("rows", "u32"),
        Param("k", "u32"),
        Param("group_size", "u32"),
    ),
    run,
    work,
    directed=True,
)
DOC = "float32 rows to int8 with one scale a row and group, and the sums of groups"
OPS = (Op("quantize_dynamic", DOC, infer, reference, ideal, (KERNEL,), example),)
