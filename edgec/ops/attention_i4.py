"""attention_i4: attention over a cache of 4 bits (kv_append_i4). The same sums over the cache's integers in -7 ... 7.

Scores and values have kernels of their own, which read two elements a byte; softmax and finish are attention's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.ops import attention
from edgec.ops.attention import ideal
from edgec.ops.attention_tiles_work import scores_work, values_i4_work
from edgec.ops.kv_append_i4 import codes
from edgec.ops.op import Array, Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, ints, require


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """As attention's, of a cache with two elements a byte."""
    (d,) = ints(attrs, "head_dim")
    require(d % 2 == 0, f"a head_dim of {d} is odd; 4-bit elements go two a byte")
    wide = {r: TensorType((types[r].shape[0], 2 * types[r].shape[1]), "i8") for r in ("k_cache", "v_cache")}
    return attention.infer({**types, **wide}, attrs)


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition: attention over the unpacked cache."""
    (d,) = ints(attrs, "head_dim")
    t = pos + inputs["q"].shape[0]
    wide = {r: _unpacked(inputs[r][:t], d) for r in ("k_cache", "v_cache")}
    return attention.reference({**inputs, **wide}, attrs, pos)


def _unpacked(packed: Array, d: int) -> Array:
    t = packed.shape[0]
    return codes(packed.reshape(t, -1, d // 2)).reshape(t, -1)


def _wide(a: dict[str, Any], role: str) -> dict[str, Any]:
    """The arguments with a tile of the cache unpacked."""
    d = a["head_dim"]
    packed = a[role][: a["count"] * a["n_kv_heads"] * d // 2].reshape(-1, d // 2)
    return {**a, role: codes(packed).reshape(-1)}


def run_scores(a: dict[str, Any]) -> None:
    """Kernel twin: positions first .. first+count of K into the score rows."""
    attention.run_scores(_wide(a, "k"))


def run_values(a: dict[str, Any]) -> None:
    """Kernel twin: adds positions first .. first+count of V to the int32 accumulators; first = 0 starts them."""
    attention.run_values(_wide(a, "v"))


def example(rng: np.random.Generator) -> Example:
    """Attention's, over a cache of random codes."""
    made = attention.example(rng)
    inputs = dict(made.inputs)
    for role in ("k_cache", "v_cache"):
        rows, width = inputs[role].shape
        low, high = rng.integers(1, 16, (2, rows, width // 2)).astype(np.uint8)
        inputs[role] = low | high << np.uint8(4)
    return Example(inputs, made.attrs, made.pos)


def _kernel(name: str, base: Kernel, cache: str, run: Any, work: Callable[[dict[str, Any]], Work]) -> Kernel:
    """The kernel of attention with packed bytes for its tile of the cache."""
    params = tuple(Param(cache, "in", "u8") if p.name == cache else p for p in base.params)
    return Kernel(name, params, run, work)


_BY_NAME = {kernel.name: kernel for kernel in attention.KERNELS}
KERNELS = (
    _kernel("attention_scores_i4", _BY_NAME["attention_scores"], "k", run_scores, scores_work(4)),
    _kernel("attention_values_i4", _BY_NAME["attention_values"], "v", run_values, values_i4_work),
)
DOC = "causal grouped-query attention over a cache of 4 bits"
OPS = (Op("attention_i4", DOC, infer, reference, ideal, KERNELS, example),)
