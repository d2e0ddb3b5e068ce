"""rope: rotary position embedding (Su et al. 2021), element i of a head paired with i + head_dim/2.

Cosines and sines are constants: a table of int16 rows [position][cos.. sin..] in units of `unit`
(the attention factor over 2^14), so that 1 is exact.

x may be wider than what is rotated (the result of joined matrices): `width` columns from `first` on are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.ir.graph import Attr, TensorType
from edgec.ops.numerics import F32, f32
from edgec.ops.op import CORES, Array, Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, ints, require

ONE = 2**14  # the table's integer for 1.0


def table(inv_freq: tuple[float, ...], positions: int) -> NDArray[np.int16]:
    """The constant table int16 [positions, head_dim] for angular frequencies in radians per position."""
    angles = np.arange(positions)[:, None] * np.asarray(inv_freq, np.float64)[None, :]
    rows: NDArray[np.int16] = np.rint(np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * ONE).astype(np.int16)
    return rows


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """x f32[m, heads * head_dim], or wider with `first` and `width`, and a table i16[positions, head_dim]."""
    x, rows = types["x"], types["table"]
    first, width = columns(attrs, x.shape[1])
    require(first + width <= x.shape[1], f"rope of columns {first} to {first + width} of {x.shape[1]}")
    (head_dim,) = ints(attrs, "head_dim")
    require(head_dim % 2 == 0, f"rope needs an even head_dim, not {head_dim}")
    require(width % head_dim == 0, f"rope's rows of {width} are not whole heads of {head_dim}")
    require(rows.shape[1] == head_dim, f"rope's table rows of {rows.shape[1]} are not head_dim {head_dim}")
    return {"y": TensorType((x.shape[0], width), x.dtype)}


def columns(attrs: Attrs, whole: int) -> tuple[int, int]:
    """The first column that is rotated, and how many: all of a row unless `first` and `width` say otherwise."""
    return int(attrs.get("first", 0)), int(attrs.get("width", whole))


def rotate(x: F32, cos: F32, sin: F32) -> F32:
    """Rotate [m, heads, head_dim] by cos and sin [m, head_dim/2]."""
    half = cos.shape[-1]
    a, b = x[..., :half], x[..., half:]
    c, s = cos[:, None, :], sin[:, None, :]
    return np.concatenate([a * c - b * s, b * c + a * s], axis=-1)


def _rotate_by(x: F32, rows: Array, unit: np.float32, head_dim: int) -> F32:
    factors = rows.astype(np.float32) * unit
    m = x.shape[0]
    return rotate(x.reshape(m, -1, head_dim), factors[:, : head_dim // 2], factors[:, head_dim // 2 :]).reshape(m, -1)


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    x = inputs["x"]
    first, width = columns(attrs, x.shape[1])
    x, rows = x[:, first : first + width], inputs["table"][pos : pos + x.shape[0]]
    return {"y": _rotate_by(x, rows, f32(attrs["unit"]), ints(attrs, "head_dim")[0])}


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """The same table: its rounding (3e-5) is far below int8's."""
    return reference(inputs, attrs, pos)


def run(a: dict[str, Any]) -> None:
    """Kernel twin: the table's rows of the m positions already gathered; rows of x `ldx` elements apart."""
    m, heads, d = a["m"], a["heads"], a["head_dim"]
    x = np.stack([a["x"][row * a["ldx"] : row * a["ldx"] + heads * d] for row in range(m)])
    a["y"][: m * heads * d] = _rotate_by(x, a["table"][: m * d].reshape(m, d), f32(a["unit"]), d).reshape(-1)


def example(rng: np.random.Generator) -> Example:
    """Random heads at a random position."""
    m, heads, d = int(rng.integers(1, 4)), int(rng.integers(1, 4)), 2 * int(rng.integers(1, 20))
    pos = int(rng.integers(0, 50))
    freq = tuple(10000.0 ** (-2 * i / d) for i in range(d // 2))
    x = rng.normal(size=(m, heads * d)).astype(np.float32)
    attrs: dict[str, Attr] = {"head_dim": d, "unit": 1.0 / ONE}
    if rng.random() < 0.5:
        attrs |= {"first": d * int(rng.integers(0, 2)), "width": heads * d}
        x = rng.normal(size=(m, (heads + 2) * d)).astype(np.float32)
    return Example({"x": x, "table": table(freq, pos + m)}, attrs, pos)


def _work(a: dict[str, Any]) -> Work:
    """Of the busiest core, times the cores, in operations of two cycles on XpulpV2: a row, a pair of elements of it,
    whose factors are converted once, and that pair in each head. Cores share rows where there are enough; else pairs;
    else heads.
    """
    m, heads, pairs = a["m"], a["heads"], a["head_dim"] // 2
    if m >= CORES:
        m = -(-m // CORES)
    elif pairs >= CORES:
        pairs = -(-pairs // CORES)
    else:
        heads = -(-heads // CORES)
    return Work(flops=CORES * round(m * (24 + pairs * (8 + 6.4 * heads))), parallel=CORES)


KERNEL = Kernel(
    "rope",
    (
        Param("x", "in", "f32"),
        Param("table", "in", "i16"),
        Param("y", "out", "f32"),
        Param("m", "u32"),
        Param("heads", "u32"),
        Param("head_dim", "u32"),
        Param("ldx", "u32"),
        Param("unit", "f32"),
    ),
    run,
    _work,
)
DOC = "rotary position embedding from a constant table"
OPS = (Op("rope", DOC, infer, reference, ideal, (KERNEL,), example, in_place="x"),)
