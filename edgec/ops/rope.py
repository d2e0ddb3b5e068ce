"""rope: rotary position embedding (Su et al. 2021), element i of a head paired with i + head_dim/2.

Cosines and sines are constants: a table of int16 rows [position][cos.. sin..] in units of `unit`
(the attention factor over 2^14), so that 1 is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.ir.graph import TensorType
from edgec.ops.numerics import F32, f32
from edgec.ops.op import Array, Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, ints, require

ONE = 2**14  # the table's integer for 1.0


def table(inv_freq: tuple[float, ...], positions: int) -> NDArray[np.int16]:
    """The constant table int16 [positions, head_dim] for angular frequencies in radians per position."""
    angles = np.arange(positions)[:, None] * np.asarray(inv_freq, np.float64)[None, :]
    rows: NDArray[np.int16] = np.rint(np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * ONE).astype(np.int16)
    return rows


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """x f32[m, heads * head_dim] and a table i16[positions, head_dim]."""
    x, rows = types["x"], types["table"]
    (head_dim,) = ints(attrs, "head_dim")
    require(head_dim % 2 == 0, f"rope needs an even head_dim, not {head_dim}")
    require(x.shape[1] % head_dim == 0, f"rope's rows of {x.shape[1]} are not whole heads of {head_dim}")
    require(rows.shape[1] == head_dim, f"rope's table rows of {rows.shape[1]} are not head_dim {head_dim}")
    return {"y": x}


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
    rows = inputs["table"][pos : pos + x.shape[0]]
    return {"y": _rotate_by(x, rows, f32(attrs["unit"]), ints(attrs, "head_dim")[0])}


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """The same table: its rounding (3e-5) is far below int8's."""
    return reference(inputs, attrs, pos)


def run(a: dict[str, Any]) -> None:
    """Kernel twin: the table's rows of the m positions already gathered."""
    m, heads, d = a["m"], a["heads"], a["head_dim"]
    x = a["x"][: m * heads * d].reshape(m, heads * d)
    a["y"][: m * heads * d] = _rotate_by(x, a["table"][: m * d].reshape(m, d), f32(a["unit"]), d).reshape(-1)


def example(rng: np.random.Generator) -> Example:
    """Random heads at a random position."""
    m, heads, d = int(rng.integers(1, 4)), int(rng.integers(1, 4)), 2 * int(rng.integers(1, 20))
    pos = int(rng.integers(0, 50))
    freq = tuple(10000.0 ** (-2 * i / d) for i in range(d // 2))
    x = rng.normal(size=(m, heads * d)).astype(np.float32)
    return Example({"x": x, "table": table(freq, pos + m)}, {"head_dim": d, "unit": 1.0 / ONE}, pos)


KERNEL = Kernel(
    "rope",
    (
        Param("x", "in", "f32"),
        Param("table", "in", "i16"),
        Param("y", "out", "f32"),
        Param("m", "u32"),
        Param("heads", "u32"),
        Param("head_dim", "u32"),
        Param("unit", "f32"),
    ),
    run,
    lambda a: Work(flops=4 * a["m"] * a["heads"] * a["head_dim"], parallel=a["m"] * a["heads"]),
)
DOC = "rotary position embedding from a constant table"
OPS = (Op("rope", DOC, infer, reference, ideal, (KERNEL,), example, in_place="x"),)
