"""rope_append: queries and keys rotated, queries quantised by heads, keys and values appended to the cache in one call,
bit for bit as rope twice, quantize_dynamic and kv_append.

x f32[m, (n_heads + 2 n_kv_heads) * head_dim] holds queries, keys and values side by side, the result of joined
matrices. Queries and keys are rotated where they are, so nothing else may read x. What attention reads of queries is
their int8: heads are quantised while cores that have no keys and values would wait.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.ir.graph import Attr, TensorType
from edgec.ops import kv_append, quantize_dynamic, rope
from edgec.ops.op import CORES, Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, ints, require


def _widths(attrs: Attrs) -> tuple[int, int]:
    """Columns of the queries, and of the keys, which are as many as those of the values."""
    heads, kv, d = ints(attrs, "n_heads", "n_kv_heads", "head_dim")
    return heads * d, kv * d


def _rope(attrs: Attrs, first: int, width: int) -> dict[str, Attr]:
    return {"head_dim": attrs["head_dim"], "unit": attrs["unit"], "first": first, "width": width}


def _append(attrs: Attrs) -> dict[str, Attr]:
    return {"head_dim": attrs["head_dim"], "v_first": sum(_widths(attrs))}


def _group(attrs: Attrs) -> dict[str, Attr]:
    return {"group_size": attrs["head_dim"]}


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """q i8[m, n_heads * head_dim] and q_scale f32[m, n_heads] of the queries, and the rows that kv_append writes."""
    queries, keys = _widths(attrs)
    x = types["x"]
    require(x.shape[1] == queries + 2 * keys, f"rope_append of rows of {x.shape[1]}, not {queries} + 2 x {keys}")
    y = rope.infer(types, _rope(attrs, 0, queries))["y"]
    k = rope.infer(types, _rope(attrs, queries, keys))["y"]
    quantised = quantize_dynamic.infer({"x": y}, _group(attrs))
    rows = kv_append.infer({**types, "k": k, "v": x}, _append(attrs))
    return {"q": quantised["q"], "q_scale": quantised["scale"], **rows}


def _both(inputs: Arrays, attrs: Attrs, pos: int, ideal: bool) -> Arrays:
    queries, keys = _widths(attrs)
    ops = (rope, quantize_dynamic, kv_append)
    rotate, quantise, append = (op.ideal if ideal else op.reference for op in ops)
    y = rotate(inputs, _rope(attrs, 0, queries), pos)["y"]
    inputs["k"], inputs["v"] = rotate(inputs, _rope(attrs, queries, keys), pos)["y"], inputs["x"]
    quantised = quantise({"x": y}, _group(attrs), pos)
    return {"q": quantised["q"], "q_scale": quantised["scale"], **append(inputs, _append(attrs), pos)}


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition; writes rows pos, pos+1, ... of the cache."""
    return _both(dict(inputs), attrs, pos, ideal=False)


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Float32 queries and a float32 cache."""
    return _both(dict(inputs), attrs, pos, ideal=True)


def run(a: dict[str, Any]) -> None:
    """Kernel twin: the table's rows of the m positions already gathered; queries and keys are rotated in x."""
    m, heads, kv, d = a["m"], a["n_heads"], a["n_kv_heads"], a["head_dim"]
    x = a["x"][: m * (heads + 2 * kv) * d].reshape(m, heads + 2 * kv, d)
    flat = np.ascontiguousarray(x[:, : heads + kv]).reshape(-1)
    rope.run({**a, "x": flat, "y": flat, "heads": heads + kv, "ldx": (heads + kv) * d})
    x[:, : heads + kv] = flat.reshape(m, heads + kv, d)
    queries = np.ascontiguousarray(x[:, :heads]).reshape(-1)
    rows = {"rows": m * heads, "k": d, "group_size": d}
    quantize_dynamic.run({"x": queries, "q": a["q"], "scale": a["q_scale"], "sums": None, **rows})
    for role, first, shift in (("k", heads, a["shift"]), ("v", heads + kv, None)):
        new = np.ascontiguousarray(x[:, first : first + kv]).reshape(-1)
        numbers = {"rows": m * kv, "heads": kv, "k": d, "ldx": kv * d}
        kv_append.run({"x": new, "shift": shift, "q": a[f"{role}_q"], "scale": a[f"{role}_scale"], **numbers})


def example(rng: np.random.Generator) -> Example:
    """Random heads, grouped, at a random position of a small cache."""
    kv, group, d = int(rng.integers(1, 4)), int(rng.integers(1, 4)), 2 * int(rng.integers(1, 20))
    m, pos = int(rng.integers(1, 4)), int(rng.integers(0, 50))
    heads, context = kv * group, pos + m + int(rng.integers(0, 5))
    freq = tuple(10000.0 ** (-2 * i / d) for i in range(d // 2))
    x = rng.normal(size=(m, (heads + 2 * kv) * d)) * 10.0 ** rng.integers(-9, 8)
    inputs: Arrays = {"x": x.astype(np.float32), "table": rope.table(freq, context)}
    for role in ("k", "v"):
        inputs[f"{role}_cache"] = np.zeros((context, kv * d), np.int8)
        inputs[f"{role}_scale"] = np.zeros((context, kv), np.float16)
    if rng.random() < 0.5:
        inputs["k_centre"] = rng.normal(size=kv * d).astype(np.float32)
    attrs: dict[str, Attr] = {"n_heads": heads, "n_kv_heads": kv, "head_dim": d, "unit": 1.0 / rope.ONE}
    return Example(inputs, attrs, pos)


def _work(a: dict[str, Any]) -> Work:
    """Of the busiest core, times the cores. Fewer rows than cores go one after another: the cores share angles, where
    these are few those of sets of heads, and then heads. More rows are shared whole, and heads of 4 elements are
    rotated and quantised without leaving the registers (unless keys have a shift).

    Operations are half cycles of a core with XpulpV2, fitted to steps of models with heads of 4 to 64 elements.
    """
    m, heads, kv, d = a["m"], a["n_heads"], a["n_kv_heads"], a["head_dim"]
    left = (55 if m >= CORES else 75) if d % 4 else 0  # of a head whose last elements fill no word
    if m >= CORES and d == 4:
        busiest = -(-m // CORES) * (40 + (75 * heads + 125 * kv) // 2)
    elif m >= CORES:
        busiest = -(-m // CORES) * (30 * (d // 2) + 7 * d * (heads + kv) // 2 + (heads + 2 * kv) * (31 + 3 * d + left))
    else:
        sets = -(-2 * CORES // d)
        rotated = 9 * -(-sets * (d // 2) // CORES) * -(-(heads + kv) // sets)
        busiest = (270 if m > 1 else 0) + m * (125 + rotated + -(-(heads + 2 * kv) // CORES) * (31 + 4 * d + left))
    return Work(flops=CORES * busiest, parallel=CORES)


KERNEL = Kernel(
    "rope_append",
    (
        Param("x", "inout", "f32"),
        Param("table", "in", "i16"),
        Param("shift", "in", "f32", optional=True),
        Param("q", "out", "i8"),
        Param("q_scale", "out", "f32"),
        Param("k_q", "out", "i8"),
        Param("k_scale", "out", "f16"),
        Param("v_q", "out", "i8"),
        Param("v_scale", "out", "f16"),
        Param("m", "u32"),
        Param("n_heads", "u32"),
        Param("n_kv_heads", "u32"),
        Param("head_dim", "u32"),
        Param("unit", "f32"),
    ),
    run,
    _work,
    directed=True,
)
DOC = "queries and keys rotated, queries, keys and values quantised, those of keys and values appended to the cache"
OPS = (Op("rope_append", DOC, infer, reference, ideal, (KERNEL,), example),)
