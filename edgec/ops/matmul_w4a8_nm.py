"""matmul_w4a8_nm and its siblings of 2 to 8 bits: int8 activations times packed weights of which N of every M are zero.

    acc[m, n, g] = sum over kept k in g of (u[n, k] - zero[n, g]) * x[m, k]
    y[m, n] = sum over g, ascending: float32(acc[m, n, g]) * (w_scale[n, g] * x_scale[m, g])  (+ bias[n])

and the addend, as there.

The same bits as matmul_w4a8 of the matrix with its zeros, as what is removed adds nothing to an integer sum. Only kept
codes are stored, with their places beside them (`edgec/packing_nm.py`). `removed` and `of` are attributes; each pattern
has a kernel of its own, so that a program holds those that it uses.

Places are indices or a bitmask, whichever is shorter, and indices where both are as long: an index is a shift and a
mask, where a bitmask's set bits must be searched for (a table of 256 words finds a byte's at once). The number of a
combination would be shorter, 3 bits in place of 4 for a window of 2:4, 11 of 16 for 12:16: 0.1 to 0.3 bits per weight,
for a table for each pattern and units that end within a byte. int4, groups of 64, RV32 instructions per kept weight and
row (a dense weight takes 5.1):

    removed of         1:2    2:4    3:4    4:8      6:8    8:16     12:16
    places             index  index  index  bitmask  index  bitmask  index
    bits of places     0.5    1      0.5    1        0.75   1        1        per weight of the dense matrix
    one row            11.6   11.6   14.0   12.8     14.9   13.4     13.8
    four rows or more  8.0    7.9    9.1    8.1      9.3    8.1      9.3

With more weights removed, more of a group's fixed cost falls on each that is kept (`benchmarks/packed.py`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ops.matmul_nm_work import nm_work
from edgec.ops.matmul_w4a8 import FLOAT32_EXACT, INT32_MAX, ideal, multiply, strided
from edgec.ops.op import Array, Arrays, Attrs, Example, Kernel, Op, Param, Types, ints, require
from edgec.packing import n_groups
from edgec.packing_nm import (
    PATTERNS,
    Pattern,
    kept,
    pack_codes,
    pack_places,
    place_bytes,
    spread,
    units,
    unpack_codes,
    unpack_places,
)

WIDTHS = range(2, 9)


def kernel_name(bits: int, pattern: Pattern) -> str:
    """The kernel of a width and pattern: matmul_w4a8_2_4."""
    return f"matmul_w{bits}a8_{pattern[0]}_{pattern[1]}"


def infer_for(bits: int) -> Any:
    """The type rule of one width."""

    def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
        x, w = types["x"], types["w"]
        k, group_size, removed, of = ints(attrs, "k", "group_size", "removed", "of")
        pattern, size = (removed, of), min(k, group_size)
        require(pattern in PATTERNS, f"{removed}:{of} has no packed form")
        require(k % of == 0 and size % of == 0, f"windows of {of} do not divide k = {k} and groups of {size}")
        n, groups, count = w.shape[0], n_groups(k, group_size), units(k, group_size, pattern)
        require(x.shape[1] == k, f"matmul of k = {k} gets rows of {x.shape[1]}")
        require(w.shape[1] == count * bits, f"packed rows of {w.shape[1]} B do not hold {count} units")
        places = (n, count * place_bytes(pattern))
        require(types["w_pos"].shape == places, f"places {types['w_pos']} are not {list(places)}")
        for role in ("w_scale", "w_zero"):
            side = types.get(role)
            require(side is None or side.shape == (n, groups), f"{role} {side} is not [{n}, {groups}]")
        require(types["x_scale"].shape == (x.shape[0], groups), f"x_scale {types['x_scale']} is not of {groups} groups")
        require(kept(size, pattern) * (2**bits - 1) * 127 <= INT32_MAX, f"a group of {size} can overflow 32 bits")
        y = TensorType((x.shape[0], n), "f32")
        require(types.get("addend", y) == y, f"an addend {types.get('addend')} for {y}")
        return {"y": y}

    return infer


def prepare(w: Array, places: Array, zero: Array | None, k: int, bits: int, group_size: int, pattern: Pattern) -> Array:
    """Weights (u - zero) with their zeros as floats [groups, group_size, n], as `matmul_w4a8.prepare` makes them."""
    n, groups, size = w.shape[0], n_groups(k, group_size), min(k, group_size)
    exact32 = size * 2**bits * 127 <= FLOAT32_EXACT
    codes: Array = unpack_codes(w, k, bits, group_size, pattern).astype(np.float32 if exact32 else np.float64)
    zeros: Any = 2 ** (bits - 1) if zero is None else np.repeat(zero, kept(size, pattern), axis=1)[:, : codes.shape[1]]
    codes = codes - codes.dtype.type(1) * zeros
    out = np.zeros((n, groups * size), codes.dtype)
    out[:, :k] = spread(codes, unpack_places(places, k, group_size, pattern), pattern[1])
    return np.ascontiguousarray(out.reshape(n, groups, size).transpose(1, 2, 0))


def reference_for(bits: int) -> Any:
    """The bit-exact definition of one width. `prepared` among the inputs saves unpacking constant weights again."""

    def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
        k, group_size, removed, of = ints(attrs, "k", "group_size", "removed", "of")
        weights = inputs.get("prepared")
        if weights is None:
            weights = prepare(inputs["w"], inputs["w_pos"], inputs.get("w_zero"), k, bits, group_size, (removed, of))
        scale = inputs["w_scale"].astype(np.float32)
        bias, addend = inputs.get("bias"), inputs.get("addend")
        return {"y": multiply(inputs["x"], inputs["x_scale"], weights, scale, bias, addend=addend)}

    return reference


def run_for(bits: int, pattern: Pattern) -> Any:
    """Kernel twin of one width and pattern: `n` consecutive output channels, rows of y `ldy` elements apart."""

    def run(a: dict[str, Any]) -> None:
        m, n, k, group_size, ldy = a["m"], a["n"], a["k"], a["group_size"], a["ldy"]
        groups, count = n_groups(k, group_size), units(k, group_size, pattern)
        zero = None if a["w_zero"] is None else a["w_zero"][: n * groups].reshape(n, groups)
        scale = a["w_scale"][: n * groups].reshape(n, groups).astype(np.float32)
        packed = a["w"][: n * count * bits].reshape(n, -1)
        places = a["w_pos"][: n * count * place_bytes(pattern)].reshape(n, -1)
        weights = prepare(packed, places, zero, k, bits, group_size, pattern)
        x, x_scale = a["x"][: m * k].reshape(m, k), a["x_scale"][: m * groups].reshape(m, groups)
        bias = None if a["bias"] is None else a["bias"][:n]
        y = multiply(x, x_scale, weights, scale, bias, addend=strided(a["addend"], m, n, ldy))
        for row in range(m):
            a["y"][row * ldy : row * ldy + n] = y[row]

    return run


def example_for(bits: int) -> Any:
    """A random instance of one width in a random pattern."""

    def example(rng: np.random.Generator) -> Example:
        pattern = PATTERNS[int(rng.integers(len(PATTERNS)))]
        m, n = int(rng.integers(1, 7)), int(rng.integers(1, 20))
        k, group_size = 16 * int(rng.integers(1, 13)), 16 * int(rng.integers(1, 9))
        groups = n_groups(k, group_size)
        codes = rng.integers(0, 2**bits, size=(n, kept(k, pattern))).astype(np.uint8)
        inputs: Arrays = {
            "x": rng.integers(-127, 128, size=(m, k)).astype(np.int8),
            "x_scale": rng.random((m, groups)).astype(np.float32),
            "w": pack_codes(codes, bits, group_size, pattern),
            "w_pos": pack_places(random_mask(rng, n, k, pattern), group_size, pattern),
            "w_scale": (rng.normal(size=(n, groups)) * 10.0 ** rng.integers(-6, 1)).astype(np.float16),
        }
        if rng.random() < 0.5:
            inputs["w_zero"] = rng.integers(0, 2**bits, size=(n, groups)).astype(np.uint8)
        if rng.random() < 0.5:
            inputs["bias"] = rng.normal(size=n).astype(np.float32)
        if rng.random() < 0.5:
            inputs["addend"] = rng.normal(size=(m, n)).astype(np.float32)
        return Example(inputs, {"k": k, "group_size": group_size, "removed": pattern[0], "of": pattern[1]})

    return example


def random_mask(rng: np.random.Generator, n: int, k: int, pattern: Pattern) -> Array:
    """True [n, k] for a random choice of inputs kept in every window."""
    windows = np.arange(pattern[1]) >= pattern[0]
    mask: Array = rng.permuted(np.broadcast_to(windows, (n * k // pattern[1], pattern[1])), axis=1)
    return mask.reshape(n, k)


def _kernel(bits: int, pattern: Pattern) -> Kernel:
    operands = (
        Param("x", "in", "i8"),
        Param("x_scale", "in", "f32"),
        Param("w", "in", "u8"),
        Param("w_pos", "in", "u8"),
        Param("w_scale", "in", "f16"),
        Param("w_zero", "in", "u8", optional=True),
        Param("bias", "in", "f32", optional=True),
        Param("addend", "in", "f32", optional=True),
        Param("y", "out", "f32"),
    )
    numbers = tuple(Param(name, "u32") for name in ("m", "n", "k", "group_size", "ldy"))
    return Kernel(
        kernel_name(bits, pattern),
        (*operands, *numbers),
        run_for(bits, pattern),
        partial(nm_work, bits, pattern),
    )


def _op(bits: int) -> Op:
    doc = f"int8 rows times packed {bits}-bit weights of which N of every M are zero and not stored"
    kernels = tuple(_kernel(bits, pattern) for pattern in PATTERNS)
    name, example = f"matmul_w{bits}a8_nm", example_for(bits)
    return Op(name, doc, infer_for(bits), reference_for(bits), ideal, kernels, example, in_place="addend")


OPS = tuple(_op(bits) for bits in WIDTHS)
