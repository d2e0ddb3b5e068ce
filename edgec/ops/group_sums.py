"""group_sums: the sums of int8 activations over each group of inputs.

Weights are stored unsigned with a zero point, so a matmul needs sum((u - zero) * x) = sum(u * x) - zero * sum(x);
the second sum does not depend on the output channel and is computed once for all matmuls that read x.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.ir.graph import TensorType
from edgec.ops.op import Arrays, Attrs, Example, Kernel, Op, Param, Types, Work, ints, require
from edgec.packing import n_groups


def infer(types: Types, attrs: Attrs) -> dict[str, TensorType]:
    """x i8[m, k] gives sums i32[m, groups]."""
    x = types["x"]
    require(x.dtype == "i8", f"group_sums takes int8 rows, not {x}")
    (group_size,) = ints(attrs, "group_size")
    return {"sums": TensorType((x.shape[0], n_groups(x.shape[1], group_size)), "i32")}


def sum_groups(x: NDArray[np.int8], group_size: int) -> NDArray[np.int32]:
    """Sums of [m, k] over groups of the last axis."""
    starts = np.arange(0, x.shape[1], group_size)
    sums: NDArray[np.int32] = np.add.reduceat(x, starts, axis=1, dtype=np.int32)
    return sums


def reference(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Bit-exact definition."""
    return {"sums": sum_groups(inputs["x"], ints(attrs, "group_size")[0])}


def ideal(inputs: Arrays, attrs: Attrs, pos: int) -> Arrays:
    """Unused by the float model; zeros of the right shape."""
    x = inputs["x"]
    return {"sums": np.zeros((x.shape[0], n_groups(x.shape[1], ints(attrs, "group_size")[0])), np.int32)}


def run(a: dict[str, Any]) -> None:
    """Kernel twin."""
    m, k = a["m"], a["k"]
    sums = sum_groups(a["x"][: m * k].reshape(m, k), a["group_size"])
    a["sums"][: sums.size] = sums.reshape(-1)


def example(rng: np.random.Generator) -> Example:
    """Random int8 rows; the group may exceed the row."""
    m, k = int(rng.integers(1, 4)), int(rng.integers(1, 150))
    return Example(
        {"x": rng.integers(-127, 128, size=(m, k)).astype(np.int8)}, {"group_size": int(rng.choice([8, 32, 64, 252]))}
    )


KERNEL = Kernel(
    "group_sums",
    (
        Param("x", "in", "i8"),
        Param("sums", "out", "i32"),
        Param("m", "u32"),
        Param("k", "u32"),
        Param("group_size", "u32"),
    ),
    run,
    lambda a: Work(macs=a["m"] * a["k"], parallel=a["m"] * n_groups(a["k"], a["group_size"])),
)
OPS = (Op("group_sums", "sums of int8 activations per group of inputs", infer, reference, ideal, (KERNEL,), example),)
