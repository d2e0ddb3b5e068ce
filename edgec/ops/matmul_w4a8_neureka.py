"""matmul_w4a8_neureka and its siblings: matmul_w4a8 on N-EUREKA and the cores, bit for bit the same.

    acc[m, n, g] = sum over k in g of (u[n, k] - 2^(bits-1)) * x[m, k]                        by the accelerator
    y[m, n] = sum over g, ascending: float32(acc[m, n, g]) * (w_scale[n, g] * x_scale[m, g])  by the cores
              (+ bias[n]), and the addend, as there

Weights are encoded for the engine (`edgec/neureka/matrix.py`): a row of the constant holds one output channel of
one group, and a group is a job. Two forms:

    matmul_w<bits>a8_neureka     3x3 jobs of one token: 4.06 bytes for 8 weights of 4 bits, and a time like that, where
                                 groups are of a multiple of 252 inputs; what they lack of whole blocks takes as much
    matmul_w8a8_neureka_1x1      1x1 jobs of all tokens at once: 8 bits a weight, whose codes narrower ones become too.
                                 Groups are of a multiple of 32 inputs, or of all

Channels go by in tiles: while the accelerator works on a tile, the cores scale the one before.

In 3x3 form the last inputs of a group, those behind whole blocks, may be the cores', which add their products to acc
before they scale: `w_tail` i8[n, groups * tail] has their weights, and the engine takes no block for them. Of a single
group, inputs before those may be folded: `w_fold` has nine channels in each filter, and the engine multiplies them for
all channels in a job of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.neureka.engine import COUT
from edgec.neureka.job import REST_CHANNELS, TILES_CHANNELS, gemv_job, rows_job
from edgec.neureka.matrix import (
    RULE,
    STEP,
    WHOLE,
    WORD,
    Split,
    encode_apart,
    fold_shape,
    prepare,
    row_bytes,
    split_of,
    splits,
    suits,
)
from edgec.ops.matmul_w4a8 import INT32_MAX, bits_of, ideal, multiply, strided
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, TypeRuleError, Types, Work, ints, require
from edgec.packing import n_groups

WIDTHS = range(2, 9)
TILES = 3  # that there are accumulators for: one is scaled, one multiplied, and one begun
LAST = 128  # channels that are not halved again
JOB = ("shape", "rest", "passes")  # numbers of a call's first job
SIZES = ("m", "n", "k", "group_size", "tile", "first", "groups", "line")
ROW = 1  # the shape of a job in 1x1 form: as EDGEC_NEUREKA_ROW; in 3x3 form it is the width
FOLD, FOLD_BITS, FOLD_INPUTS, FOLD_ROWS = 13, 4, 8, 17  # of one of folded inputs: as EDGEC_NEUREKA_FOLD_SHAPE
FOLD_CHANNELS = 9 << 32 - FOLD_ROWS  # that it can name filters for

PARAMS = (  # that the kernels begin with; they themselves begin with the first job (kernels/neureka/neureka_jobs.h)
    Param("x", "in", "i8"),
    Param("w", "in", "u8"),
    Param("acc", "out", "i32"),
    *(Param(name, "u32") for name in JOB),
    Param("x_scale", "in", "f32"),
    Param("w_scale", "in", "f16"),
    Param("bias", "in", "f32", optional=True),
    Param("y", "out", "f32"),
    *(Param(name, "u32") for name in SIZES),
    Param("w_tail", "in", "i8", optional=True),
    Param("tail", "u32"),
    Param("w_fold", "in", "u8", optional=True),
    Param("fold_acc", "out", "i32", optional=True),
    Param("fold", "u32"),
)


def kernel_name(bits: int, mode: str = "3x3") -> str:
    """The kernel of a width and form."""
    return f"matmul_w{bits}a8_neureka" if mode == "3x3" else "matmul_w8a8_neureka_1x1"


def mode_of(name: str) -> str:
    """The form of a kernel: 3x3 or 1x1."""
    return "1x1" if name.endswith("_1x1") else "3x3"


def tile_sizes(n: int, tile: int, first: int) -> list[int]:
    """Channels of a call's tiles, as the kernel cuts them: `first`, then half of what is left in whole passes, at most
    `tile`.
    """
    sizes = [first]
    while left := n - sum(sizes):
        sizes.append(min(half(left), tile))
    return sizes


def slots(n: int, tile: int, first: int) -> int:
    """Tiles that there are accumulators for."""
    return min(TILES, len(tile_sizes(n, tile, first)))


def half(n: int) -> int:
    """Half of so many channels, in whole passes, or all of few: an ordinary tile."""
    return -(-n // (2 * COUT)) * COUT if n > LAST else n


def call_numbers(
    name: str, n: int, k: int, group_size: int, tile: int, first: int, split: Split = WHOLE
) -> dict[str, int]:
    """Numbers of a kernel's call but m: sizes, and the first job as the engine takes it."""
    mode, size, bits = mode_of(name), min(k, group_size) - split.apart, bits_of(name)
    numbers = {"n": n, "k": k, "group_size": group_size, "tile": tile, "first": first}
    numbers |= {"tail": split.tail, "fold": folding(n, bits, split.fold)}
    numbers |= {"groups": n_groups(k, group_size), "line": row_bytes(k, group_size, bits, mode, split.apart)}
    row = mode == "1x1"
    job = rows_job(0, 0, 0, (1, 1), size, first, 8) if row else gemv_job(0, 0, 0, size, first, bits)
    words = job.registers()
    shape = ROW if row else 16 * size + bits
    return numbers | {"shape": shape, "rest": words[REST_CHANNELS], "passes": words[TILES_CHANNELS]}


def folding(n: int, bits: int, fold: int) -> int:
    """The shape of the job of so many folded inputs, of n channels; 0 if there are none."""
    rows, _ = fold_shape(n, bits, fold)
    return rows << FOLD_ROWS | fold << FOLD_INPUTS | bits << FOLD_BITS | FOLD if fold else 0


def split_in(numbers: Mapping[str, int | float]) -> Split:
    """A call's inputs apart, by its numbers."""
    return Split(int(numbers.get("tail", 0)), int(numbers.get("fold", 0)) >> FOLD_INPUTS & 511)


def split_numbers(types: Types, attrs: Attrs, bits: int) -> dict[str, int]:
    """Those numbers of a call, by its op's types: tail and fold."""
    k, group_size = ints(attrs, "k", "group_size")
    n = types["w_scale"].shape[0]
    split = split_of(k, group_size, types.get("w_tail"), types.get("w_fold"))
    return {"tail": split.tail, "fold": folding(n, bits, split.fold)}


def checked_split(types: Types, n: int, k: int, group_size: int, bits: int, mode: str) -> Split:
    """The inputs apart of a matrix of n channels, whose w_tail and w_fold must be theirs."""
    try:
        split = split_of(k, group_size, types.get("w_tail"), types.get("w_fold"), mode)
    except ValueError as e:
        raise TypeRuleError(str(e)) from e
    shapes = {
        "w_tail": TensorType((n, n_groups(k, group_size) * split.tail), "i8"),
        "w_fold": TensorType(fold_shape(n, bits, split.fold), "u8"),
    }
    for role, expected in shapes.items():
        if role in types:
            require(types[role] == expected, f"{role} {types[role]} is not {expected}")
    require("w_fold" not in types or n <= FOLD_CHANNELS, f"folded inputs of {n} channels, more than {FOLD_CHANNELS}")
    return split


def infer_for(bits: int, mode: str) -> Any:
    """The type rule of one width and form."""

    def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
        x, w = types["x"], types["w"]
        k, group_size = ints(attrs, "k", "group_size")
        groups = n_groups(k, group_size)
        fits = suits(k, group_size, mode)
        require(fits, f"groups of {group_size} of {k} inputs are not {RULE[mode]}")
        n = w.shape[0] // groups
        require(x.shape[1] == k, f"matmul of k = {k} gets rows of {x.shape[1]}")
        line = row_bytes(k, group_size, bits, mode, checked_split(types, n, k, group_size, bits, mode).apart)
        require(w.shape == (groups * n, line), f"encoded weights {w} are not [{groups * n}, {line}]")
        require(types["w_scale"].shape == (n, groups), f"w_scale {types['w_scale']} is not [{n}, {groups}]")
        require(types["x_scale"].shape == (x.shape[0], groups), f"x_scale {types['x_scale']} is not of {groups} groups")
        widest = min(k, group_size) * 2 ** (bits - 1) * 127
        require(widest <= INT32_MAX, f"a group of {min(k, group_size)} can overflow its 32-bit accumulator")
        y = TensorType((x.shape[0], n), "f32")
        require(types.get("addend", y) == y, f"an addend {types.get('addend')} for {y}")
        return {"y": y}

    return infer


def reference_for(bits: int, mode: str) -> Any:
    """The bit-exact definition of one width. `prepared` among the inputs saves decoding constant weights again."""

    def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
        k, group_size = ints(attrs, "k", "group_size")
        weights = inputs.get("prepared")
        if weights is None:
            weights = prepare(inputs["w"], k, bits, group_size, mode, inputs.get("w_tail"), inputs.get("w_fold"))
        scale = inputs["w_scale"].astype(np.float32)
        bias, addend = inputs.get("bias"), inputs.get("addend")
        return {"y": multiply(inputs["x"], inputs["x_scale"], weights, scale, bias, addend=addend)}

    return reference


def run_for(bits: int, mode: str) -> Any:
    """Kernel twin of one width. The accumulators' memory is not followed: it ends as it began."""

    def run(a: dict[str, Any]) -> None:
        m, n, k, group_size = a["m"], a["n"], a["k"], a["group_size"]
        groups, split = n_groups(k, group_size), split_in(a)
        line = row_bytes(k, group_size, bits, mode, split.apart)
        w_tail = a["w_tail"][: n * groups * split.tail].reshape(n, -1) if split.tail else None
        rows, size = fold_shape(n, bits, split.fold)
        w_fold = a["w_fold"][: rows * size].reshape(rows, size) if split.fold else None
        w = a["w"][: groups * n * line].reshape(groups * n, line)
        weights = prepare(w, k, bits, group_size, mode, w_tail, w_fold)
        x, x_scale = a["x"][: m * k].reshape(m, k), a["x_scale"][: m * groups].reshape(m, groups)
        scale = a["w_scale"][: n * groups].reshape(n, groups).astype(np.float32)
        bias = None if a["bias"] is None else a["bias"][:n]
        y = multiply(x, x_scale, weights, scale, bias, addend=strided(a["addend"], m, n, n))
        a["y"][: m * n] = y.reshape(-1)

    return run


def example_for(bits: int, mode: str) -> Any:
    """A random instance of one width: one group of any size, of which the cores may have a part, or some of whole
    blocks.
    """

    def example(rng: np.random.Generator) -> Example:
        m, n = int(rng.integers(1, 4)), int(rng.integers(1, 80))
        step = STEP[mode]
        k = int(rng.choice([int(rng.integers(1, 300)), WORD * int(rng.integers(63, 150)), step, 2 * step, 3 * step]))
        if mode == "3x3" and rng.random() < 0.5:
            k = WORD * int(rng.integers(63, 100))
        group_size = int(rng.choice([k, max(k, step), step])) if k % step == 0 else k
        if mode == "3x3" and rng.random() < 0.2:  # groups that fill no block
            group_size = int(rng.choice([20, 32, 64, 128, 256, 260]))
            k = group_size * int(rng.integers(2, 5))
        groups = n_groups(k, group_size)
        inputs: Arrays = {
            "x": rng.integers(-127, 128, size=(m, k)).astype(np.int8),
            "x_scale": rng.random((m, groups)).astype(np.float32),
            "w_scale": (rng.normal(size=(n, groups)) * 10.0 ** rng.integers(-6, 1)).astype(np.float16),
        }
        u = rng.integers(0, 2**bits, size=(n, k)).astype(np.uint8)
        choices = splits(k, group_size, mode)
        split = choices[int(rng.integers(len(choices)))] if choices and rng.random() < 0.8 else WHOLE
        inputs |= encode_apart(u, bits, group_size, split, mode)
        if rng.random() < 0.5:
            inputs["bias"] = rng.normal(size=n).astype(np.float32)
        if rng.random() < 0.5:
            inputs["addend"] = rng.normal(size=(m, n)).astype(np.float32)
        return Example(inputs, {"k": k, "group_size": group_size})

    return example


def _op(bits: int, mode: str = "3x3") -> Op:
    kernel = Kernel(
        kernel_name(bits, mode),
        (
            *PARAMS,
            Param("addend", "in", "f32", optional=True),
        ),
        run_for(bits, mode),
        lambda a: Work(
            macs=a["m"] * a["n"] * a["k"],
            flops=3 * a["m"] * a["n"] * n_groups(a["k"], a["group_size"]),
            parallel=a["n"],
        ),
        directed=True,
        engine="neureka",
        streamed=("w", "w_fold"),
        scratch=("acc", "fold_acc"),
    )
    doc = f"int8 rows times {bits}-bit weights encoded for N-EUREKA in {mode} form, scaled by the cores meanwhile"
    rules = infer_for(bits, mode), reference_for(bits, mode), ideal, (kernel,), example_for(bits, mode)
    return Op(kernel.name, doc, *rules, in_place="addend")


OPS = (*(_op(bits) for bits in WIDTHS), _op(8, "1x1"))
