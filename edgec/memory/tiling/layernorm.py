"""layernorm: one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.plan import Number
from edgec.memory.streaming import Operand, Tile, Workspace
from edgec.memory.tiling.step import StepContext


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    k = step.type("x").shape[1]
    numbers: dict[str, Number] = {"rows": step.rows("x"), "k": k, "inv_k": 1.0 / k}
    numbers["eps"] = float(step.node.attrs["eps"])
    operands: dict[str, Operand] = {role: step.fetch(role) for role in ("x", "gain", "bias")}
    operands["y"] = step.deliver("y")
    yield lambda workspace: [Tile("layernorm", operands, numbers)]
