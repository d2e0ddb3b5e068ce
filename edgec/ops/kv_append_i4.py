"""kv_append_i4: keys and values of new tokens into a cache of 4 bits, one binary16 scale per token and head.

    scale = f16(max|x| / 7);   u = rint(clamp(x / scale, -7, 7)) + 8

The cache is four states: k u8[context, n_kv_heads * head_dim / 2], k_scale f16[context, n_kv_heads], and v, v_scale.
An optional k_centre is subtracted from keys as in kv_append. Elements i and i + head_dim/2 of a head, a rotary pair,
share byte i, the first in its low half.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.ir.graph import Attr, TensorType
from edgec.ops.kv_append import heads_of, ideal, new_rows, row_length
from edgec.ops.numerics import F32, f16_from_f32, f32, rint_i32
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, ints, require

ONE_7TH = f32(1 / 7)
ZERO = 8  # the code that means 0


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """k and v f32[m, n_kv_heads * head_dim] give the rows written: k_q, k_q_scale, v_q, v_q_scale."""
    (head_dim,) = ints(attrs, "head_dim")
    require(head_dim % 2 == 0, f"a head_dim of {head_dim} is odd; 4-bit elements go two a byte")
    centre = types.get("k_centre")
    require(centre is None or centre.shape == (types["k"].shape[1],), f"a centre {centre} for keys {types['k']}")
    out = {}
    for role in ("k", "v"):
        x, cache, scale = types[role], types[f"{role}_cache"], types[f"{role}_scale"]
        width = row_length(types, attrs, role, 2 * cache.shape[1])
        require(scale.shape == (cache.shape[0], width // head_dim), f"cache scales {scale} are not one a head")
        out[f"{role}_q"] = TensorType((x.shape[0], cache.shape[1]), "u8")
        out[f"{role}_q_scale"] = TensorType((x.shape[0], width // head_dim), "f16")
    return out


def quantize_heads(x: F32) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Packed bytes [..., head_dim / 2] and binary16 scales of rows [..., head_dim]."""
    scale = f16_from_f32(np.abs(x).max(axis=-1) * ONE_7TH)
    s = scale.astype(np.float32)
    inv = np.divide(f32(1.0), s, out=np.zeros_like(s), where=s > 0)
    limit = f32(7.0)
    u = rint_i32(np.minimum(np.maximum(x * inv[..., None], -limit), limit)) + ZERO
    low, high = np.split(u.astype(np.uint8), 2, axis=-1)
    return low | high << np.uint8(4), scale


def codes(packed: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Signed elements [..., head_dim] of bytes [..., head_dim / 2]."""
    u = np.concatenate([packed & np.uint8(15), packed >> np.uint8(4)], axis=-1)
    signed: NDArray[np.int8] = u.astype(np.int8) - np.int8(ZERO)
    return signed


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition; writes rows pos, pos+1, ... of the cache."""
    (head_dim,) = ints(attrs, "head_dim")
    out: Arrays = {}
    for role in ("k", "v"):
        x = new_rows(inputs, attrs, role)
        m = x.shape[0]
        q, scale = quantize_heads(x.reshape(m, -1, head_dim))
        out[f"{role}_q"], out[f"{role}_q_scale"] = q.reshape(m, -1), scale
        inputs[f"{role}_cache"][pos : pos + m] = out[f"{role}_q"]
        inputs[f"{role}_scale"][pos : pos + m] = scale
    return out


def run(a: dict[str, Any]) -> None:
    """Kernel twin (kv_quantize_i4): `rows` heads of k elements."""
    rows, heads, k = a["rows"], a["heads"], a["k"]
    x = heads_of(a["x"], rows, heads, k, a["ldx"])
    if a["shift"] is not None:
        x = x - a["shift"][: heads * k].reshape(heads, k)[np.arange(rows) % heads]
    q, scale = quantize_heads(x)
    a["q"][: rows * k // 2] = q.reshape(-1)
    a["scale"][:rows] = scale


def example(rng: np.random.Generator) -> Example:
    """Random rows appended somewhere in a small cache; magnitudes reach binary16's subnormals and its limit."""
    m, heads, d = int(rng.integers(1, 4)), int(rng.integers(1, 4)), 2 * int(rng.integers(1, 20))
    pos = int(rng.integers(0, 10))
    context = pos + m + int(rng.integers(0, 5))
    inputs: Arrays = {}
    for role in ("k", "v"):
        x = rng.normal(size=(m, heads * d)) * 10.0 ** rng.integers(-9, 6)
        inputs[role] = x.astype(np.float32)
        inputs[f"{role}_cache"] = np.zeros((context, heads * d // 2), np.uint8)
        inputs[f"{role}_scale"] = np.zeros((context, heads), np.float16)
    if rng.random() < 0.5:
        inputs["k_centre"] = (inputs["k"].mean(axis=0) * rng.normal()).astype(np.float32)
    attrs: dict[str, Attr] = {"head_dim": d}
    if rng.random() < 0.5:
        inputs["v"], attrs["v_first"] = np.concatenate([inputs["k"], inputs["v"], inputs["v"]], axis=1), heads * d
    return Example(inputs, attrs, pos)


KERNEL = Kernel(
    "kv_quantize_i4",
    (
        Param("x", "in", "f32"),
        Param("shift", "in", "f32", optional=True),
        Param("q", "out", "u8"),
        Param("scale", "out", "f16"),
        Param("rows", "u32"),
        Param("heads", "u32"),
        Param("k", "u32"),
        Param("ldx", "u32"),
    ),
    run,
    lambda a: Work(flops=a["rows"] * (5 * a["k"] + 38), parallel=a["rows"]),
)
DOC = "keys and values appended to a cache of 4 bits"
OPS = (Op("kv_append_i4", DOC, infer, reference, ideal, (KERNEL,), example),)
