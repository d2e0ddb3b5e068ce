"""matmul_w4a8 and its siblings matmul_w2a8 ... matmul_w8a8: int8 activations times packed 2- to 8-bit weights.

    acc[m, n, g] = sum over k in g of (u[n, k] - zero[n, g]) * x[m, k]
    y[m, n] = sum over g, ascending: float32(acc[m, n, g]) * (w_scale[n, g] * x_scale[m, g])  (+ bias[n])

Weights may have a minimum per group in place of a zero point, w = u * w_scale + w_min (GGUF's Q4_1). Counted from the
middle code h = 2^(bits-1) that is (u - h) * w_scale + (h * w_scale + w_min), so y goes on, behind the bias:

    y[m, n] += float32(x_sums[m, g]) * ((h * w_scale[n, g] + w_min[n, g]) * x_scale[m, g])      g ascending

Last of all an addend [m, n], if there is one: y[m, n] = addend[m, n] + y[m, n] (a residual connection).

The inner sum is exact in int32; everything outside it is float32 in the written order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.ir.graph import TensorType
from edgec.ops.matmul_work import work_for
from edgec.ops.numerics import F32
from edgec.ops.op import Array, Arrays, Attrs, Example, Kernel, Op, Param, Types, ints, require
from edgec.packing import n_groups, pack, row_bytes, unpack

INT32_MAX = 2**31 - 1
FLOAT32_EXACT = 2**24  # integers up to here are exact in float32, whatever the order of summation


def bits_of(op_name: str) -> int:
    """Weight width of an op or kernel name: matmul_w4a8 and matmul_w4a8_nm are 4."""
    return int(op_name.removeprefix("matmul_w").partition("a8")[0])


def infer_for(bits: int) -> Any:
    """The type rule of one width."""

    def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
        x, w = types["x"], types["w"]
        k, group_size = ints(attrs, "k", "group_size")
        n, groups = w.shape[0], n_groups(k, group_size)
        require(x.shape[1] == k, f"matmul of k = {k} gets rows of {x.shape[1]}")
        require(w.shape[1] == row_bytes(k, bits, group_size), f"packed rows of {w.shape[1]} B do not hold {k} weights")
        for role in ("w_scale", "w_zero", "w_min"):
            side = types.get(role)
            require(side is None or side.shape == (n, groups), f"{role} {side} is not [{n}, {groups}]")
        require("w_zero" not in types or "w_min" not in types, "weights have zero points or minima, not both")
        for role in ("x_scale", "x_sums"):
            require(types[role].shape == (x.shape[0], groups), f"{role} {types[role]} is not of {groups} groups")
        widest = min(k, group_size) * (2**bits - 1) * 127
        require(widest <= INT32_MAX, f"a group of {min(k, group_size)} can overflow its 32-bit accumulator")
        y = TensorType((x.shape[0], n), "f32")
        require(types.get("addend", y) == y, f"an addend {types.get('addend')} for {y}")
        return {"y": y}

    return infer


def prepare(w: Array, zero: Array | None, k: int, bits: int, group_size: int) -> Array:
    """Weights (u - zero) as floats [groups, group_size, n], the short last group padded with zeros.

    The float type is wide enough for every partial sum with int8 activations to be an exact integer, so
    a BLAS product in any order equals the int32 accumulator.
    """
    n, groups, size = w.shape[0], n_groups(k, group_size), min(k, group_size)
    exact32 = size * 2**bits * 127 <= FLOAT32_EXACT
    out = np.zeros((n, groups * size), np.float32 if exact32 else np.float64)
    out[:, :k] = unpack(w, k, bits, group_size)
    if zero is None:
        out[:, :k] -= 2 ** (bits - 1)
    else:
        out[:, :k] -= np.repeat(zero, size, axis=1)[:, :k]
    return np.ascontiguousarray(out.reshape(n, groups, size).transpose(1, 2, 0))


def sum_groups(x: NDArray[np.int8], group_size: int) -> NDArray[np.int32]:
    """Sums of [m, k] over groups of the last axis, the last of which may be shorter."""
    starts = np.arange(0, x.shape[1], group_size)
    sums: NDArray[np.int32] = np.add.reduceat(x, starts, axis=1, dtype=np.int32)
    return sums


def middles(scale: F32, minimum: Array, bits: int) -> F32:
    """What the middle code of every group means where it is not zero: 2^(bits-1) * scale + minimum, float32."""
    return np.float32(2 ** (bits - 1)) * scale + minimum.astype(np.float32)


def multiply(
    x: NDArray[np.int8],
    x_scale: F32,
    weights: Array,
    scale: F32,
    bias: F32 | None,
    error: Array | None = None,
    middle: F32 | None = None,
    sums: Array | None = None,
    addend: F32 | None = None,
) -> F32:
    """The definition on prepared weights [groups, size, n], x_scale [m, groups] and scale [n, groups].

    error [groups, m, n] is added to the accumulators (what wrong group sums in memory would cause);
    middle [n, groups] is what a code in the middle means, to be weighted with the sums of x [m, groups].
    """
    groups, size, _ = weights.shape
    m, k = x.shape
    padded = np.zeros((m, groups * size), weights.dtype)
    padded[:, :k] = x
    acc = np.matmul(padded.reshape(m, groups, size).transpose(1, 0, 2), weights)
    if error is not None:
        acc = acc + error
    acc = acc.astype(np.float32, copy=False) + np.float32(0)  # an integer 0 is never -0
    scaled = acc * (scale.T[:, None, :] * x_scale.T[:, :, None])
    y: F32 = scaled[0]
    for g in range(1, groups):
        y = y + scaled[g]
    if bias is not None:
        y = y + bias
    if middle is not None and sums is not None:
        for g in range(groups):
            y = y + sums[:, g, None].astype(np.float32) * (middle[:, g] * x_scale[:, g, None])
    return y if addend is None else addend + y


def strided(flat: Array | None, m: int, n: int, ld: int) -> Array | None:
    """Rows of n elements, ld apart, as an array [m, n]; None of None."""
    return None if flat is None else np.stack([flat[row * ld : row * ld + n] for row in range(m)])


def reference_for(bits: int) -> Any:
    """The bit-exact definition of one width. `prepared` among the inputs saves unpacking constant weights again."""

    def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
        k, group_size = ints(attrs, "k", "group_size")
        weights = inputs.get("prepared")
        if weights is None:
            weights = prepare(inputs["w"], inputs.get("w_zero"), k, bits, group_size)
        scale = inputs["w_scale"].astype(np.float32)
        middle = middles(scale, inputs["w_min"], bits) if "w_min" in inputs else None
        x, x_scale, sums = inputs["x"], inputs["x_scale"], inputs["x_sums"]
        bias, addend = inputs.get("bias"), inputs.get("addend")
        return {"y": multiply(x, x_scale, weights, scale, bias, None, middle, sums, addend)}

    return reference


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """x W^T (+ bias) in float32, W the checkpoint's own matrix [n, k]."""
    y = inputs["x"] @ inputs["w"].T
    for role in ("bias", "addend"):
        y = y + inputs[role] if role in inputs else y
    return {"y": y}


def run_for(bits: int) -> Any:
    """Kernel twin of one width: `n` consecutive output channels, rows of y `ldy` elements apart."""

    def run(a: dict[str, Any]) -> None:
        m, n, k, group_size, ldy = a["m"], a["n"], a["k"], a["group_size"], a["ldy"]
        groups = n_groups(k, group_size)
        stride = row_bytes(k, bits, group_size)
        zero, least = (None if a[r] is None else a[r][: n * groups].reshape(n, groups) for r in ("w_zero", "w_min"))
        packed = a["w"][: n * stride].reshape(n, stride)
        weights = prepare(packed, zero, k, bits, group_size)
        x = a["x"][: m * k].reshape(m, k)
        x_scale, sums = (a[role][: m * groups].reshape(m, groups) for role in ("x_scale", "x_sums"))
        scale = a["w_scale"][: n * groups].reshape(n, groups).astype(np.float32)
        bias = None if a["bias"] is None else a["bias"][:n]
        # C computes sum(u x) - zero * sums: sums that are wrong in memory must give C's wrong outputs here too.
        error = None
        shift = sum_groups(x, group_size) - sums
        if shift.any():
            z = np.full((n, groups), 2 ** (bits - 1)) if zero is None else zero
            error = shift.T[:, :, None] * z.T[:, None, :].astype(np.int64)
        middle = None if least is None else middles(scale, least, bits)
        y = multiply(x, x_scale, weights, scale, bias, error, middle, sums, strided(a["addend"], m, n, ldy))
        for row in range(m):
            a["y"][row * ldy : row * ldy + n] = y[row]

    return run


def example_for(bits: int) -> Any:
    """A random instance of one width, with and without zero points or minima, bias and a short last group."""

    def example(rng: np.random.Generator) -> Example:
        m, n, k = int(rng.integers(1, 5)), int(rng.integers(1, 20)), int(rng.integers(1, 200))
        group_size = int(rng.choice([8, 16, 32, 64, 128, 252]))
        groups = n_groups(k, group_size)
        x = rng.integers(-127, 128, size=(m, k)).astype(np.int8)
        inputs: Arrays = {
            "x": x,
            "x_scale": rng.random((m, groups)).astype(np.float32),
            "x_sums": sum_groups(x, group_size),
            "w": pack(rng.integers(0, 2**bits, size=(n, k)).astype(np.uint8), bits, group_size),
            "w_scale": (rng.normal(size=(n, groups)) * 10.0 ** rng.integers(-6, 1)).astype(np.float16),
        }
        offset = rng.choice(["w_zero", "w_min", ""])
        if offset == "w_zero":
            inputs["w_zero"] = rng.integers(0, 2**bits, size=(n, groups)).astype(np.uint8)
        if offset == "w_min":
            inputs["w_min"] = (rng.normal(size=(n, groups)) * 10.0 ** rng.integers(-6, 1)).astype(np.float16)
        if rng.random() < 0.5:
            inputs["bias"] = rng.normal(size=n).astype(np.float32)
        if rng.random() < 0.5:
            inputs["addend"] = rng.normal(size=(m, n)).astype(np.float32)
        return Example(inputs, {"k": k, "group_size": group_size})

    return example


def _op(bits: int) -> Op:
    name = f"matmul_w{bits}a8"
    kernel = Kernel(
        name,
        (
            Param("x", "in", "i8"),
            Param("x_scale", "in", "f32"),
            Param("x_sums", "in", "i32"),
            Param("w", "in", "u8"),
            Param("w_scale", "in", "f16"),
            Param("w_zero", "in", "u8", optional=True),
            Param("w_min", "in", "f16", optional=True),
            Param("bias", "in", "f32", optional=True),
            Param("addend", "in", "f32", optional=True),
            Param("y", "out", "f32"),
            Param("m", "u32"),
            Param("n", "u32"),
            Param("k", "u32"),
            Param("group_size", "u32"),
            Param("ldy", "u32"),
        ),
        run_for(bits),
        work_for(bits),
    )
    doc = f"int8 rows times packed {bits}-bit weights, float32 scales per output channel and group"
    return Op(name, doc, infer_for(bits), reference_for(bits), ideal, (kernel,), example_for(bits), in_place="addend")


OPS = tuple(_op(bits) for bits in range(2, 9))
