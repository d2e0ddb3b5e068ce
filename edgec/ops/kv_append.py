"""kv_append: keys and values of new tokens into the cache, as int8 with one binary16 scale per token and head.

The cache is four states: k i8[context, n_kv_heads * head_dim], k_scale f16[context, n_kv_heads], and v, v_scale.

An optional k_centre f32[n_kv_heads * head_dim] is subtracted from keys first. A softmax does not notice: the same
constant q . k_centre leaves all scores of a query. What the keys have in common then costs no resolution.

v may be wider than a row of the cache (the result of joined matrices): its columns from `v_first` on are the values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.ir.graph import Attr, TensorType
from edgec.ops.numerics import F32, ONE_127TH, f16_from_f32, f32, rint_i32
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, ints, require

CACHE = ("k", "k_scale", "v", "v_scale")


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """k and v f32[m, n_kv_heads * head_dim] give the rows written: k_q, k_q_scale, v_q, v_q_scale."""
    (head_dim,) = ints(attrs, "head_dim")
    centre = types.get("k_centre")
    require(centre is None or centre.shape == (types["k"].shape[1],), f"a centre {centre} for keys {types['k']}")
    out = {}
    for role in ("k", "v"):
        x, cache, scale = types[role], types[f"{role}_cache"], types[f"{role}_scale"]
        width = row_length(types, attrs, role, cache.shape[1])
        require(scale.shape == (cache.shape[0], width // head_dim), f"cache scales {scale} are not one a head")
        out[f"{role}_q"] = TensorType((x.shape[0], width), "i8")
        out[f"{role}_q_scale"] = TensorType((x.shape[0], width // head_dim), "f16")
    return out


def row_length(types: Types, attrs: Attrs, role: str, width: int) -> int:
    """Elements of a row of the cache, which x must have or, if it is v with `v_first`, from there on."""
    first = int(attrs.get("v_first", 0)) if role == "v" else 0
    x = types[role]
    fits = first + width <= x.shape[1] if role == "v" and "v_first" in attrs else x.shape[1] == width
    require(fits, f"kv_append of rows of {x.shape[1]} from {first} on to a cache of {width}")
    return width


def new_rows(inputs: Arrays, attrs: Attrs, role: str) -> F32:
    """Keys without their centre, or values out of their columns: [m, width]."""
    x: F32 = inputs[role]
    if role == "v" and "v_first" in attrs:
        first = int(attrs["v_first"])
        return x[:, first : first + inputs["k"].shape[1]]
    return x - inputs["k_centre"] if role == "k" and "k_centre" in inputs else x


def heads_of(flat: F32, rows: int, heads: int, k: int, ldx: int) -> F32:
    """Heads [rows, k] of tokens that are ldx elements apart."""
    tokens = rows // heads
    whole = np.stack([flat[token * ldx : token * ldx + heads * k] for token in range(tokens)]) if tokens else flat[:0]
    return whole.reshape(rows, k)


def quantize_heads(x: F32) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """q and binary16 scale of rows [..., head_dim]; q is clamped because the scale is rounded after absmax/127."""
    scale = f16_from_f32(np.abs(x).max(axis=-1) * ONE_127TH)
    s = scale.astype(np.float32)
    inv = np.divide(f32(1.0), s, out=np.zeros_like(s), where=s > 0)
    limit = f32(127.0)
    q = np.minimum(np.maximum(x * inv[..., None], -limit), limit)
    return rint_i32(q).astype(np.int8), scale


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


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """A float32 cache."""
    out: Arrays = {}
    for role in ("k", "v"):
        x = new_rows({n: a for n, a in inputs.items() if n != "k_centre"}, attrs, role)
        inputs[f"{role}_cache"][pos : pos + x.shape[0]] = x
        out[f"{role}_q"] = x
        out[f"{role}_q_scale"] = np.ones((x.shape[0], 1), np.float32)
    return out


def run(a: dict[str, Any]) -> None:
    """Kernel twin (kv_quantize): `rows` heads of k elements."""
    rows, heads, k = a["rows"], a["heads"], a["k"]
    x = heads_of(a["x"], rows, heads, k, a["ldx"])
    if a["shift"] is not None:
        x = x - a["shift"][: heads * k].reshape(heads, k)[np.arange(rows) % heads]
    q, scale = quantize_heads(x)
    a["q"][: rows * k] = q.reshape(-1)
    a["scale"][:rows] = scale


def example(rng: np.random.Generator) -> Example:
    """Random rows appended somewhere in a small cache; magnitudes reach binary16's subnormals and its limit."""
    m, heads, d = int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.integers(1, 40))
    pos = int(rng.integers(0, 10))
    context = pos + m + int(rng.integers(0, 5))
    inputs: Arrays = {}
    for role in ("k", "v"):
        x = rng.normal(size=(m, heads * d)) * 10.0 ** rng.integers(-9, 8)
        inputs[role] = x.astype(np.float32)
        inputs[f"{role}_cache"] = np.zeros((context, heads * d), np.int8)
        inputs[f"{role}_scale"] = np.zeros((context, heads), np.float16)
    if rng.random() < 0.5:
        inputs["k_centre"] = (inputs["k"].mean(axis=0) * rng.normal()).astype(np.float32)
    attrs: dict[str, Attr] = {"head_dim": d}
    if rng.random() < 0.5:
        inputs["v"], attrs["v_first"] = np.concatenate([inputs["k"], inputs["v"], inputs["v"]], axis=1), heads * d
    return Example(inputs, attrs, pos)


KERNEL = Kernel(
    "kv_quantize",
    (
        Param("x", "in", "f32"),
        Param("shift", "in", "f32", optional=True),
        Param("q", "out", "i8"),
        Param("scale", "out", "f16"),
        Param("rows", "u32"),
        Param("heads", "u32"),
        Param("k", "u32"),
        Param("ldx", "u32"),
    ),
    run,
    lambda a: Work(flops=5 * a["rows"] * a["k"] + 30 * a["rows"], parallel=a["rows"]),
)
OPS = (Op("kv_append", "quantised keys and values appended to the cache", infer, reference, ideal, (KERNEL,), example),)
