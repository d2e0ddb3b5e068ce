"""embed_neureka, embed_neureka_1x1: embed of a table that is encoded for N-EUREKA, as a head that is tied to it wants.

    y[m, i] = (u[token m, i] - 2^(bits-1)) * w_scale[token m, group of i] * factor

The table is a matrix's constant (`edgec/ops/matmul_w4a8_neureka.py`): a row of it holds one token's weights of one
group, and all tokens' rows of a group lie together. So a group is gathered and looked up by a call of its own. In 1x1
form weights have 8 bits, whatever width their codes have. `w_tail` has a group's last inputs where they are the cores'.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.ir.graph import Attr, TensorType
from edgec.neureka.engine import TAPS, gemv_cin
from edgec.neureka.matrix import BLOCK, RULE, STEP, WHOLE, encode_apart, row_bytes, splits, suits, weights
from edgec.ops.embed import ideal
from edgec.ops.matmul_w4a8_neureka import checked_split
from edgec.ops.numerics import F32, f32
from edgec.ops.op import Array, Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, ints, require
from edgec.packing import n_groups

FOURS = 4  # weights that the kernels unpack together
NARROW = 4  # bits of weights of which eight of a full line are looked up at a time
# Operations of four cycles, as measured: of four neighbours and each of their bits, or of eight in a full line.
FOUR, EIGHT = (24, 2.5), (37.6, 1.6)
TAIL = 3  # of a weight that is no code

PARAMS = (
    Param("w", "in", "u8"),
    Param("w_scale", "in", "f16"),
    Param("y", "out", "f32"),
    *(Param(name, "u32") for name in ("m", "k", "bits", "group_size", "group")),
    Param("factor", "f32"),
    Param("w_tail", "in", "i8", optional=True),
    Param("tail", "u32"),
)


def kernel_name(mode: str) -> str:
    """The op, and its kernel, of a form."""
    return "embed_neureka" if mode == "3x3" else "embed_neureka_1x1"


def infer_for(mode: str) -> Any:
    """The type rule of a form."""

    def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
        """tokens i32[m] and an encoded table u8[groups * vocabulary, line] give y f32[m, k]."""
        k, bits, group_size = ints(attrs, "k", "bits", "group_size")
        w, scale, groups = types["w"], types["w_scale"], n_groups(k, group_size)
        fits = suits(k, group_size, mode)
        require(fits, f"groups of {group_size} of {k} inputs are not {RULE[mode]}")
        require(mode == "3x3" or bits == 8, f"weights of {bits} bits have 8 in 1x1 form")
        require(scale.shape[1] == groups, f"w_scale {scale} is not of {groups} groups")
        split = checked_split(types, scale.shape[0], k, group_size, bits, mode)
        require(split.fold == 0, "rows of folded inputs, which are spread over filters, are not looked up")
        line = row_bytes(k, group_size, bits, mode, split.apart)
        require(w.shape == (groups * scale.shape[0], line), f"an encoded table {w} is not [{groups} * n, {line}]")
        return {"y": TensorType((types["tokens"].shape[0], k), "f32")}

    return infer


def reference_for(mode: str) -> Any:
    """The bit-exact definition of a form."""

    def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
        k, bits, group_size = ints(attrs, "k", "bits", "group_size")
        tokens, groups = inputs["tokens"], n_groups(k, group_size)
        w = inputs["w"].reshape(groups, -1, inputs["w"].shape[1])[:, tokens]
        tail = inputs["w_tail"][tokens] if "w_tail" in inputs else None
        values = weights(w, tokens.size, k, bits, group_size, mode, tail)
        return {"y": _rows(values, inputs["w_scale"][tokens], attrs.get("factor", 1.0)).reshape(-1, k)}

    return reference


def _rows(values: Array, scale: Array, factor: Any) -> F32:
    """Floats of weights int16 [rows, groups, size] with scales [rows, groups]."""
    return values.astype(np.float32) * scale.astype(np.float32)[..., None] * f32(factor)


def run_for(mode: str) -> Any:
    """Kernel twin of a form: `m` rows of one group, already gathered."""

    def run(a: dict[str, Any]) -> None:
        m, k, bits, group_size, group = a["m"], a["k"], a["bits"], a["group_size"], a["group"]
        size, tail = min(k, group_size), a["tail"]
        groups, line = n_groups(k, group_size), row_bytes(k, group_size, bits, mode, tail)
        w_tail = a["w_tail"][: m * groups * tail].reshape(m, groups, tail)[:, group] if tail else None
        values = weights(a["w"][: m * line], m, size, bits, size, mode, w_tail)
        scale = a["w_scale"][: m * groups].reshape(m, groups)[:, group : group + 1]
        last = (m - 1) * k + size
        places = (np.arange(m)[:, None] * k + np.arange(size)).reshape(-1)
        a["y"][:last][places] = _rows(values, scale, a["factor"]).reshape(-1)

    return run


def example_for(mode: str) -> Any:
    """A random instance: one group of any size, or some; their last inputs may be the cores'."""

    def example(rng: np.random.Generator) -> Example:
        m, vocab, step = int(rng.integers(1, 5)), int(rng.integers(1, 30)), STEP[mode]
        k = int(rng.choice([int(rng.integers(1, 300)), 4 * int(rng.integers(63, 150)), step, 2 * step, 3 * step]))
        group_size = int(rng.choice([k, max(k, step), step])) if k % step == 0 else k
        if mode == "3x3" and rng.random() < 0.3:  # groups that fill no block
            group_size = int(rng.choice([20, 32, 64, 128, 256, 260]))
            k = group_size * int(rng.integers(2, 5))
        bits = int(rng.integers(2, 9))
        u = rng.integers(0, 2**bits, size=(vocab, k)).astype(np.uint8)
        inputs: Arrays = {
            "tokens": rng.integers(0, vocab, size=m).astype(np.int32),
            "w_scale": rng.normal(size=(vocab, n_groups(k, group_size))).astype(np.float16),
        }
        choices = [split for split in splits(k, group_size, mode) if not split.fold]
        split = choices[0] if choices and rng.random() < 0.7 else WHOLE
        inputs |= encode_apart(u, bits, group_size, split, mode)
        attrs: dict[str, Attr] = {"k": k, "bits": bits if mode == "3x3" else 8, "group_size": group_size}
        if rng.random() < 0.3:
            attrs["factor"] = float(rng.choice([0.5, 25.298221]))
        return Example(inputs, attrs)

    return example


def fours(size: int, mode: str) -> int:
    """Runs of at most four weights that a row of a group consists of: a run is of one position of the 3x3 image."""
    return TAPS[mode] * -(-(gemv_cin(size) if mode == "3x3" else size) // FOURS)


def _work(mode: str) -> Any:
    def work(a: dict[str, Any]) -> Work:
        tail = a.get("tail", 0)
        size = min(a["k"], a["group_size"]) - tail
        full = mode == "3x3" and size == BLOCK and a["bits"] <= NARROW  # eight neighbours at a time
        units, (fixed, bit) = (-(-size // 8), EIGHT) if full else (fours(size, mode), FOUR)
        bits = a["bits"] if mode == "3x3" else 0  # the 1x1 form has one width
        flops = a["m"] * (units * (fixed + bit * bits) + TAIL * tail)
        return Work(flops=round(flops), parallel=a["m"] * units)

    return work


def _op(mode: str) -> Op:
    kernel = Kernel(kernel_name(mode), PARAMS, run_for(mode), _work(mode))
    doc = f"rows of an embedding table encoded for N-EUREKA in {mode} form by token id"
    return Op(kernel.name, doc, infer_for(mode), reference_for(mode), ideal, (kernel,), example_for(mode))


OPS = (_op("3x3"), _op("1x1"))
