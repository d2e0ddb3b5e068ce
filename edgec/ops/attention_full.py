"""attention_full: attention of queries over all positions of a text, none of them masked: encoders, cross attention.

`attention` (same scores, softmax and sums) in which every row sees positions 0 to length - 1, length being a state that
is set with the text. Scores and values are computed for the whole cache, which is what a plan knows; what lies behind
the length gets the weight 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ops import attention
from edgec.ops.attention import factor, mix, scores, softmax
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, ints, require
from edgec.ops.quantize_dynamic import quantize_rows

LIMITS = ("scale", "window", "softcap")  # attributes of attention that it does not have


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """q f32[m, n_heads * head_dim] over the cache's four states, with length i32[1], gives y of q's type."""
    limits = [name for name in LIMITS if name in attrs]
    require(not limits, f"attention_full has no {', '.join(limits)}")
    require(types["q"].dtype == "f32", f"attention_full of queries of {types['q'].dtype}, not f32")
    require(types["length"] == TensorType((1,), "i32"), f"attention_full's length is {types['length']}, not i32[1]")
    return attention.infer(types, attrs)


def _seen(inputs: Arrays) -> tuple[Arrays, int]:
    t = int(inputs["length"][0])
    return {role: inputs[role][:t] for role in ("k_cache", "k_scale", "v_cache", "v_scale")}, t


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    heads, kv, d = ints(attrs, "n_heads", "n_kv_heads", "head_dim")
    q, (cache, t) = inputs["q"], _seen(inputs)
    m = q.shape[0]
    q8, qs = quantize_rows(q.reshape(m, heads, d))
    k, v = (cache[r].reshape(t, kv, d) for r in ("k_cache", "v_cache"))
    s = scores(q8, qs * factor(d), k, cache["k_scale"], heads)
    p, p_scale = softmax(s, cache["v_scale"], t)
    return {"y": (mix(p, v).astype(np.float32) * p_scale[..., None]).reshape(m, heads * d)}


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Softmax attention over a float32 cache."""
    heads, kv, d = ints(attrs, "n_heads", "n_kv_heads", "head_dim")
    q, (cache, t) = inputs["q"], _seen(inputs)
    m = q.shape[0]
    k, v = (cache[r].reshape(t, kv, d) for r in ("k_cache", "v_cache"))
    s = np.einsum("mjgd,tjd->mjgt", q.reshape(m, kv, heads // kv, d), k, optimize=True) / math.sqrt(d)
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    y = np.einsum("mjgt,tjd->mjgd", e / e.sum(axis=-1, keepdims=True), v, optimize=True)
    return {"y": y.reshape(m, heads * d).astype(np.float32)}


def run_softmax(a: dict[str, Any]) -> None:
    """Kernel twin: score rows to p rows ([m][heads][lds]) and one factor per row and head."""
    m, heads, kv = a["m"], a["n_heads"], a["n_kv_heads"]
    positions, lds, t = a["positions"], a["lds"], int(a["length"][0])
    s = a["s"][: m * heads * lds].reshape(m, heads, lds)[:, :, :t]
    p, p_scale = softmax(s, a["v_scale"][: t * kv].reshape(t, kv), t)
    weights = a["p"][: m * heads * lds].reshape(m, heads, lds)
    weights[:, :, :t] = p
    weights[:, :, t:positions] = 0
    a["p_scale"][: m * heads] = p_scale.reshape(-1)


def example(rng: np.random.Generator) -> Example:
    """Attention's, over any part of the cache."""
    made = attention.float_example(rng)
    attrs = {name: value for name, value in made.attrs.items() if name not in LIMITS}
    length = int(rng.integers(1, made.inputs["k_cache"].shape[0] + 1))
    return Example({**made.inputs, "length": np.array([length], np.int32)}, attrs, made.pos)


KERNEL = Kernel(
    "attention_softmax_full",
    (
        Param("s", "inout", "f32"),
        Param("v_scale", "in", "f16"),
        Param("length", "in", "i32"),
        Param("p", "out", "u8"),
        Param("p_scale", "out", "f32"),
        *(Param(key, "u32") for key in ("m", "n_heads", "n_kv_heads", "positions", "lds")),
    ),
    run_softmax,
    lambda a: Work(flops=16 * a["m"] * a["n_heads"] * a["positions"], parallel=a["m"] * a["n_heads"]),
)
DOC = "attention over all positions of a text"
OPS = (Op("attention_full", DOC, infer, reference, ideal, (KERNEL,), example),)
