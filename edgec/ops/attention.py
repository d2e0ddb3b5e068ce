"""attention: causal attention of new queries over the int8 cache, grouped-query, integer softmax weights.

Per row r (position pos + r, which sees the positions up to its own, or the last `window` of them) and query head h with
key/value head j:

    q8, qs   = quantize_dynamic of the head's query, or q and q_scale where queries come as i8
    s[t]     = float32(q8 . k[t, j]) * ((qs * factor) * k_scale[t, j])        factor = log2(e) * scale
    s[t]     = capped(s[t], log2(e) * softcap)                                where there is a soft cap
    e[t]     = exp2_bytes(s[t], max s)                                        integer in [0, 255]
    r[t]     = rint(v_scale[t, j] * ((1 / most) * 2^15))                      most = max of the v_scale that it sees
    p[t]     = (e[t] * r[t] + 2^14) >> 15                                     integer in [0, 255]
    y        = float32(sum over t of p[t] * v[t, j]) * ((most * (255 / float32(sum of e))) * 1/255)

Where all v_scale are alike, p is e. r belongs to the row's positions and the key/value head, so heads that share
those share it too.

The attribute `scale` is 1 / sqrt(head_dim) unless it is given; `window` and `softcap` are absent where there is none.
Sums run over integers, maxima are order-free: the result does not depend on tiles, cores or chunks.
Kernels stream K, then V, through memory in tiles; only scores stay.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.ir.graph import Attr, TensorType
from edgec.ops.attention_tiles_work import cap_work, scores_work, values_work
from edgec.ops.attention_work import whole_work
from edgec.ops.numerics import F32, ONE_255TH, Array, capped, exp2_bytes, f32, rint_i32
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, ints, require
from edgec.ops.quantize_dynamic import quantize_rows

RATIO_ONE = f32(2**15)  # r of the largest v_scale
MAX_CONTEXT = 65536  # 255 * 2^16 sums of e are exact in float32; 255 * 127 * 2^16 sums of p*v fit 31 bits


def splits(heads: int, cores: int) -> bool:
    """Whether heads fill the cores so unevenly that these rather share the heads of a row."""
    return heads % cores != 0 and heads < 4 * cores


def split_form(heads: int, kv_heads: int, head_dim: int, pos: int, cores: int) -> str:
    """How they share them at a position: only the values (words), the heads that are left over (teams), or positions
    and values of all heads (phases). Where three heads have the same keys, phases load those once.
    """
    left, three = heads % cores, heads >= 3 * kv_heads
    teams = 2 * left <= cores
    if three and pos * head_dim >= 384 * cores if teams else pos >= (6 if three else 10) * cores:
        return "phases"
    return "teams" if teams and pos >= cores else "words"


def lanes(rows: int, heads: int, kv_heads: int, head_dim: int, cores: int) -> int:
    """How many rows and heads with the same keys and values a core does together; 1 where it has fewer than three. Four
    of heads of 4 elements, also where it has only three.
    """
    together = min(rows * heads // kv_heads, -(-rows * heads // cores))
    return 1 if together < 3 or head_dim % 4 else 4 if head_dim == 4 else 3


def factor(head_dim: int, scale: float = 0.0) -> np.float32:
    """log2(e) times scale (0: 1 / sqrt(head_dim)), so that softmax is a power of two."""
    return f32(math.log2(math.e) * scale if scale else math.log2(math.e) / math.sqrt(head_dim))


def cap_of(attrs: Attrs) -> np.float32:
    """The soft cap of scores that are powers of two; 0: none."""
    return f32(math.log2(math.e) * float(attrs.get("softcap", 0.0)))


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """q f32[m, n_heads * head_dim], or i8 with q_scale f32[m, n_heads], over the cache's four states gives y f32 of q's
    shape.
    """
    q, cache = types["q"], types["k_cache"]
    heads, kv_heads, d = ints(attrs, "n_heads", "n_kv_heads", "head_dim")
    scale = TensorType((q.shape[0], heads), "f32") if q.dtype == "i8" else None
    require(q.dtype in ("f32", "i8"), f"attention of queries of {q.dtype}, not f32 or i8")
    require(types.get("q_scale") == scale, f"attention of {q} with query scales {types.get('q_scale')}, not {scale}")
    require(q.shape[1] == heads * d, f"attention rows of {q.shape[1]} are not {heads} heads of {d}")
    require(cache.shape[1] == kv_heads * d, f"cache rows of {cache.shape[1]} are not {kv_heads} heads of {d}")
    require(heads % kv_heads == 0, f"{heads} query heads do not share {kv_heads} key/value heads evenly")
    require(d * 127 * 127 < 2**24, f"a head_dim of {d} overflows the exact float32 dot product (1,040)")
    require(int(attrs.get("window", 0)) >= 0, f"attention over a window of {attrs.get('window')} positions")
    require(float(attrs.get("softcap", 0)) >= 0, f"attention with a soft cap of {attrs.get('softcap')}")
    require(cache.shape[0] <= MAX_CONTEXT, f"a context of {cache.shape[0]} overflows the softmax sum ({MAX_CONTEXT})")
    return {"y": TensorType(q.shape, "f32")}


def queries(inputs: Arrays, heads: int) -> tuple[NDArray[np.int8], F32]:
    """q8 [m, heads, head_dim] and its scale [m, heads]."""
    q = inputs["q"].reshape(inputs["q"].shape[0], heads, -1)
    return (q, inputs["q_scale"]) if "q_scale" in inputs else quantize_rows(q)


def scores(q8: Array, scale: F32, k: NDArray[np.int8], k_scale: Array, heads: int) -> F32:
    """s [m, heads, t] of q8 [m, heads, d], scale [m, heads] (factor applied), k [t, kv, d], k_scale [t, kv]."""
    m, _, d = q8.shape
    kv = k.shape[1]
    grouped = q8.reshape(m, kv, heads // kv, d).astype(np.float32)
    keys = k.astype(np.float32).transpose(1, 2, 0)  # kv, d, t: integer dot products below 2^24, exact in float32
    acc = np.matmul(grouped.transpose(1, 0, 2, 3).reshape(kv, -1, d), keys)
    acc = acc.reshape(kv, m, heads // kv, -1).transpose(1, 0, 2, 3) + f32(0)  # an integer 0 is never -0
    factors = scale.reshape(m, kv, heads // kv, 1) * k_scale.astype(np.float32).T[None, :, None, :]
    s: F32 = (acc * factors).reshape(m, heads, -1)
    return s


def softmax(s: F32, v_scale: Array, pos: int, window: int = 0) -> tuple[NDArray[np.uint8], F32]:
    """p [m, heads, t] and the factor of p . v, from scores [m, heads, t] of which row r sees the last `window` (0: all)
    of pos + r + 1.
    """
    m, heads, t = s.shape
    per_kv = heads // v_scale.shape[1]
    before = pos + np.arange(m)[:, None] - np.arange(t)[None, :]  # how far a position lies before the row's own
    hidden = ((before < 0) | ((before >= window) & (window > 0)))[:, None, :]
    s = np.where(hidden, f32(-np.inf), s)
    top = s.max(axis=-1, keepdims=True)
    e = np.where(hidden, 0, exp2_bytes(s, top))
    total = e.sum(axis=-1, dtype=np.int32)
    scales = np.where(hidden, f32(0), v_scale.astype(np.float32).T[None])  # m, kv, t
    most = scales.max(axis=-1)
    ratio = np.divide(f32(1), most, out=np.zeros_like(most), where=most > 0) * RATIO_ONE
    r = np.repeat(rint_i32(scales * ratio[..., None]), per_kv, axis=1)
    p = ((e * r + (1 << 14)) >> 15).astype(np.uint8)
    return p, np.repeat(most, per_kv, axis=1) * (f32(255.0) / total.astype(np.float32)) * ONE_255TH


def mix(p: NDArray[np.uint8], v: NDArray[np.int8]) -> NDArray[np.int32]:
    """Integer sums over t of p [m, heads, t] times v [t, kv, d]: int32 [m, heads, d]."""
    m, heads, t = p.shape
    kv, d = v.shape[1:]
    # Products up to 255 * 127 over t positions: exact in float32 for t <= 518, in float64 always.
    kind = np.float32 if t <= 512 else np.float64
    grouped = p.reshape(m, kv, heads // kv, t).transpose(1, 0, 2, 3).reshape(kv, -1, t).astype(kind)
    acc = np.matmul(grouped, v.astype(kind).transpose(1, 0, 2))
    by_head = acc.reshape(kv, m, heads // kv, d).transpose(1, 0, 2, 3)
    out: NDArray[np.int32] = by_head.reshape(m, heads, d).astype(np.int32)
    return out


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    (d,) = ints(attrs, "head_dim")
    return {"y": attended(inputs, attrs, pos, factor(d, float(attrs.get("scale", 0))))}


def attended(inputs: Arrays, attrs: Attrs, pos: int, times: np.float32) -> F32:
    """What reference gives, for scores times this factor."""
    heads, kv, d = ints(attrs, "n_heads", "n_kv_heads", "head_dim")
    q8, qs = queries(inputs, heads)
    m = q8.shape[0]
    t = pos + m
    k, v = (inputs[r][:t].reshape(t, kv, d) for r in ("k_cache", "v_cache"))
    s = scores(q8, qs * times, k, inputs["k_scale"][:t], heads)
    window = int(attrs.get("window", 0))
    if cap := cap_of(attrs):
        s = capped(s, cap)
    p, p_scale = softmax(s, inputs["v_scale"][:t], pos, window)
    y: F32 = mix(p, v).astype(np.float32) * p_scale[..., None]
    return y.reshape(m, heads * d)


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Softmax attention of float32 queries over a float32 cache."""
    heads, kv, d = ints(attrs, "n_heads", "n_kv_heads", "head_dim")
    q = inputs["q"]
    m = q.shape[0]
    t = pos + m
    queries = q.reshape(m, kv, heads // kv, d)
    k, v = (inputs[r][:t].reshape(t, kv, d) for r in ("k_cache", "v_cache"))
    s = np.einsum("mjgd,tjd->mjgt", queries, k, optimize=True) * (float(attrs.get("scale", 0)) or 1 / math.sqrt(d))
    if cap := float(attrs.get("softcap", 0)):
        s = cap * np.tanh(s / cap)
    distance = pos + np.arange(m)[:, None] - np.arange(t)[None, :]
    seen = (distance >= 0) & (distance < (int(attrs.get("window", 0)) or t))
    s = np.where(seen[:, None, None, :], s, -np.inf)
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    y = np.einsum("mjgt,tjd->mjgd", e / e.sum(axis=-1, keepdims=True), v, optimize=True)
    return {"y": y.reshape(m, heads * d).astype(np.float32)}


def _shape(a: dict[str, Any]) -> tuple[int, int, int, int]:
    return a["m"], a["n_heads"], a["n_kv_heads"], a["head_dim"]


def run_scores(a: dict[str, Any]) -> None:
    """Kernel twin: positions first .. first+count of K into the score rows ([m][heads][lds])."""
    m, heads, kv, d = _shape(a)
    first, count, lds = a["first"], a["count"], a["lds"]
    if not count:
        return
    q8 = a["q"][: m * heads * d].reshape(m, heads, d)
    scale = a["q_scale"][: m * heads].reshape(m, heads) * f32(a["factor"])
    k, k_scale = a["k"][: count * kv * d].reshape(count, kv, d), a["k_scale"][: count * kv].reshape(count, kv)
    s = scores(q8, scale, k, k_scale, heads)
    a["s"][: m * heads * lds].reshape(m, heads, lds)[:, :, first : first + count] = s


def run_cap(a: dict[str, Any]) -> None:
    """Kernel twin: the score rows ([m][heads][lds]) as far as each row sees, in place."""
    m, heads, pos, lds = a["m"], a["n_heads"], a["pos"], a["lds"]
    s = a["s"][: m * heads * lds].reshape(m, heads, lds)
    for row in range(m):
        length = pos + row + 1
        seen = s[row, :, max(0, length - a["window"]) if a["window"] else 0 : length]
        seen[:] = capped(seen, f32(a["cap"]))


def run_softmax(a: dict[str, Any]) -> None:
    """Kernel twin: score rows to p rows ([m][heads][lds]) and one factor per row and head."""
    m, heads, kv = a["m"], a["n_heads"], a["n_kv_heads"]
    pos, lds = a["pos"], a["lds"]
    t = pos + m
    s = a["s"][: m * heads * lds].reshape(m, heads, lds)[:, :, :t]
    p, p_scale = softmax(s, a["v_scale"][: t * kv].reshape(t, kv), pos, a["window"])
    a["p"][: m * heads * lds].reshape(m, heads, lds)[:, :, :t] = p
    a["p_scale"][: m * heads] = p_scale.reshape(-1)


def run_values(a: dict[str, Any]) -> None:
    """Kernel twin: adds positions first .. first+count of V to the int32 accumulators; first = 0 starts them."""
    m, heads, kv, d = _shape(a)
    first, count, lds = a["first"], a["count"], a["lds"]
    p = a["p"][: m * heads * lds].reshape(m, heads, lds)[:, :, first : first + count]
    acc = a["acc"][: m * heads * d].reshape(m, heads, d)
    if first == 0:
        acc[:] = 0
    if count:
        acc += mix(p, a["v"][: count * kv * d].reshape(count, kv, d))


def run_finish(a: dict[str, Any]) -> None:
    """Kernel twin: accumulators times factors."""
    m, heads, d = a["m"], a["n_heads"], a["head_dim"]
    acc = a["acc"][: m * heads * d].reshape(m, heads, d).astype(np.float32)
    a["y"][: m * heads * d] = (acc * a["p_scale"][: m * heads].reshape(m, heads, 1)).reshape(-1)


def run_whole(a: dict[str, Any]) -> None:
    """Kernel twin: all parts one after the other over positions 0 .. pos + m - 1."""
    m, heads, kv, d = _shape(a)
    t, rooms, cores, lds = a["pos"] + m, a["rooms"], a["cores"], a["lds"]
    sizes = {"s": (rooms, lds), "p": (rooms, lds), "r": (cores, lds), "found": (rooms, 4 * cores)}
    for role, (rows, size) in sizes.items():
        if a[role] is not None:
            a[role][: rows * size].reshape(rows, size)[:] = 0
    cache = {role: a[role][: t * kv * d].reshape(t, kv * d) for role in ("k", "v")}
    scales = {f"{role}_scale": a[f"{role}_scale"][: t * kv].reshape(t, kv) for role in ("k", "v")}
    inputs = {
        "q": a["q"][: m * heads * d].reshape(m, heads * d),
        "q_scale": a["q_scale"][: m * heads].reshape(m, heads),
        "k_cache": cache["k"],
        "v_cache": cache["v"],
        **scales,
    }
    y = attended(inputs, {"n_heads": heads, "n_kv_heads": kv, "head_dim": d}, a["pos"], f32(a["factor"]))
    a["y"][: m * heads * d] = y.reshape(-1)


def example(rng: np.random.Generator) -> Example:
    """float_example, of which some have quantised queries."""
    made = float_example(rng)
    if rng.random() < 0.6:
        return made
    q = made.inputs["q"]
    q8, scale = quantize_rows(q.reshape(q.shape[0], int(made.attrs["n_heads"]), -1))
    return Example({**made.inputs, "q": q8.reshape(q.shape), "q_scale": scale}, made.attrs, made.pos)


def float_example(rng: np.random.Generator) -> Example:
    """Random queries over a random cache, grouped-query, peaked or flat."""
    kv, group, d = int(rng.integers(1, 4)), int(rng.integers(1, 4)), 2 * int(rng.integers(1, 17))
    m, pos = int(rng.integers(1, 4)), int(rng.integers(0, 70))
    context = pos + m + int(rng.integers(0, 5))
    inputs: Arrays = {"q": (rng.normal(size=(m, kv * group * d)) * 10.0 ** rng.integers(-2, 2)).astype(np.float32)}
    for role in ("k", "v"):
        inputs[f"{role}_cache"] = rng.integers(-127, 128, size=(context, kv * d)).astype(np.int8)
        inputs[f"{role}_scale"] = (rng.random((context, kv)) * 0.05).astype(np.float16)
    if rng.random() < 0.1:
        inputs["v_scale"][:] = 0
    attrs: dict[str, Attr] = {"n_heads": kv * group, "n_kv_heads": kv, "head_dim": d}
    if rng.random() < 0.4:
        attrs |= {"scale": float(rng.choice([0.05, 1.0])), "window": int(rng.choice([0, 1, 5, 30]))}
        attrs["softcap"] = float(rng.choice([0.0, 2.0, 50.0]))
    return Example(inputs, attrs, pos)


def _u32(*keys: str) -> tuple[Param, ...]:
    return tuple(Param(key, "u32") for key in keys)


def _whole_work(a: dict[str, Any]) -> Work:
    m, heads, kv, d, pos, cores, lanes = (
        int(a[key]) for key in ("m", "n_heads", "n_kv_heads", "head_dim", "pos", "cores", "lanes")
    )
    shared = m == 1 and splits(heads, cores) and d % 4 == 0
    return whole_work(m, heads, kv, d, pos, cores, lanes, split_form(heads, kv, d, pos, cores) if shared else "")


KERNELS = (
    Kernel(
        "attention_scores",
        (
            Param("q", "in", "i8"),
            Param("q_scale", "in", "f32"),
            Param("k", "in", "i8"),
            Param("k_scale", "in", "f16"),
            Param("s", "out", "f32"),
            *_u32("m", "n_heads", "n_kv_heads", "head_dim", "first", "count", "lds"),
            Param("factor", "f32"),
        ),
        run_scores,
        scores_work(8),
    ),
    Kernel(
        "attention_cap",
        (
            Param("s", "inout", "f32"),
            *_u32("m", "n_heads", "pos", "lds", "window"),
            Param("cap", "f32"),
        ),
        run_cap,
        cap_work,
    ),
    Kernel(
        "attention_softmax",
        (
            Param("s", "inout", "f32"),
            Param("v_scale", "in", "f16"),
            Param("p", "out", "u8"),
            Param("p_scale", "out", "f32"),
            *_u32("m", "n_heads", "n_kv_heads", "pos", "lds", "window"),
        ),
        run_softmax,
        lambda a: Work(flops=16 * a["m"] * a["n_heads"] * (a["pos"] + a["m"]), parallel=a["m"] * a["n_heads"]),
    ),
    Kernel(
        "attention_values",
        (
            Param("p", "in", "u8"),
            Param("v", "in", "i8"),
            Param("acc", "inout", "i32", fresh="first"),
            *_u32("m", "n_heads", "n_kv_heads", "head_dim", "first", "count", "lds"),
        ),
        run_values,
        values_work,
    ),
    Kernel(
        "attention_finish",
        (
            Param("acc", "in", "i32"),
            Param("p_scale", "in", "f32"),
            Param("y", "out", "f32"),
            *_u32("m", "n_heads", "head_dim"),
        ),
        run_finish,
        lambda a: Work(flops=2 * a["m"] * a["n_heads"] * a["head_dim"], parallel=a["m"] * a["n_heads"]),
    ),
    Kernel(
        "attention",
        (
            Param("q", "in", "i8"),
            Param("q_scale", "in", "f32"),
            Param("k", "in", "i8"),
            Param("k_scale", "in", "f16"),
            Param("v", "in", "i8"),
            Param("v_scale", "in", "f16"),
            Param("s", "out", "f32"),
            Param("p", "out", "u8"),
            Param("r", "out", "f16", optional=True),
            Param("found", "out", "f32", optional=True),
            Param("y", "out", "f32"),
            *_u32("m", "n_heads", "n_kv_heads", "head_dim", "pos", "lds", "cores", "lanes", "rooms"),
            Param("factor", "f32"),
        ),
        run_whole,
        _whole_work,
        directed=True,
        scratch=("s", "p", "r", "found"),
    ),
)
DOC = "causal grouped-query attention over the int8 cache"
OPS = (Op("attention", DOC, infer, reference, ideal, KERNELS, example),)
