"""attention_neureka: attention of one row whose scores N-EUREKA multiplies at later positions, bit for bit the same.

For the engine the positions are pixels, the elements of all key/value heads their channels, and the quantised queries
the weights of a 1x1 convolution: an output channel is a query head, and zero but where its key/value head is. So keys
are read as they lie in the cache, and one job gives the scores of all heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

from edgec.ir.graph import TensorType
from edgec.neureka.engine import CIN, LINE
from edgec.ops import attention
from edgec.ops.attention_work import whole_work
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, ints, require

TOGETHER = 2  # heads with the same keys and values: with fewer, the values take most of the time
MANY = 3  # of them that share cores' work on values well
ELEMENTS = 16  # of heads that are not so many, or fill the cores: with fewer, scores take little of the time
FILLED_KEYS = 256  # elements of a position's keys there: with more, the queries take long to encode
KEYS = 320  # the same of heads that are not so many and do not fill the cores


def suits(heads: int, kv_heads: int, head_dim: int, cores: int) -> bool:
    """Whether it is for such heads: some have the same keys, and they leave cores over or their scores take long."""
    if head_dim % 4 or heads < TOGETHER * kv_heads:
        return False
    if cores > 1 and heads % cores == 0 and heads < 4 * cores:
        return head_dim >= ELEMENTS and kv_heads * head_dim <= FILLED_KEYS
    many = heads >= MANY * kv_heads
    return attention.splits(heads, cores) and (many or (head_dim >= ELEMENTS and kv_heads * head_dim <= KEYS))


def line_bytes(kv_heads: int, head_dim: int) -> int:
    """Bytes of an encoded query of all key/value heads' elements."""
    return -(-kv_heads * head_dim // CIN["1x1"]) * LINE


def row_length(heads: int) -> int:
    """Sums of a position: of each head, filled up to what the engine writes at once."""
    return -(-heads // 8) * 8


def form(heads: int, kv_heads: int, head_dim: int, pos: int, cores: int) -> str:
    """How cores share the heads of a row: engine, or attention's teams or words."""
    left, many = heads % cores, heads >= MANY * kv_heads
    teams = 2 * left <= cores
    if teams and left and many:
        engine = pos * head_dim >= 320 * cores
    else:  # cores share heads that are few, or left over, well
        pairs = 560 if not teams else 1000 if heads == left else 680
        engine = pos * (head_dim + 16) >= (850 if not left else 440 if many else pairs) * cores
    return "words" if pos < cores else "engine" if engine else "teams" if teams else "words"


def first_position(numbers: Mapping[str, Any]) -> int:
    """The position from which on the engine multiplies scores of a call."""
    heads, kv, d, cores = (int(numbers[key]) for key in ("n_heads", "n_kv_heads", "head_dim", "cores"))
    return next(pos for pos in count() if form(heads, kv, d, pos, cores) == "engine")


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """As attention of one quantised row."""
    (d,) = ints(attrs, "head_dim")
    q = types["q"]
    require(q.shape[0] == 1 and "q_scale" in types, f"attention_neureka of {q}, not of one quantised row")
    require(d % 4 == 0, f"a head_dim of {d} is no multiple of 4")
    limits = float(attrs.get("softcap", 0)) or int(attrs.get("window", 0))
    require(not limits, "attention_neureka with a window or a soft cap")
    return attention.infer(types, attrs)


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition: attention's."""
    return attention.reference(inputs, attrs, pos)


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Attention's."""
    return attention.ideal(inputs, attrs, pos)


def run(a: dict[str, Any]) -> None:
    """Kernel twin: attention's; the engine's room is not followed."""
    attention.run_whole(a)


def example(rng: np.random.Generator) -> Example:
    """Attention's, of one row that is quantised."""
    while True:
        found = attention.example(rng)
        inputs, attrs = dict(found.inputs), {k: v for k, v in found.attrs.items() if k not in ("softcap", "window")}
        if "q_scale" in inputs and int(attrs["head_dim"]) % 4 == 0:
            inputs |= {"q": inputs["q"][:1], "q_scale": inputs["q_scale"][:1]}
            return Example(inputs, attrs, found.pos)


def work(a: dict[str, Any]) -> Work:
    """Attention's of one row, in the kernel's form."""
    heads, kv, d, pos, cores = (int(a[key]) for key in ("n_heads", "n_kv_heads", "head_dim", "pos", "cores"))
    return whole_work(1, heads, kv, d, pos, cores, 1, form(heads, kv, d, pos, cores))


_WHOLE = next(kernel for kernel in attention.KERNELS if kernel.name == "attention")
_FOUND = tuple(replace(p, optional=False) if p.name == "found" else p for p in _WHOLE.params)
KERNEL = Kernel(
    "attention_neureka",
    (*_FOUND, Param("lines", "out", "u8"), Param("sums", "out", "i32")),
    run,
    work,
    directed=True,
    scratch=(*_WHOLE.scratch, "lines", "sums"),
    uses=("attention", "neureka"),
)
DOC = "causal grouped-query attention of one row, whose scores N-EUREKA multiplies at later positions"
OPS = (Op("attention_neureka", DOC, infer, reference, ideal, (KERNEL,), example),)
