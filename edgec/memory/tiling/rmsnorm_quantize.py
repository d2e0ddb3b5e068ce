"""rmsnorm_quantize: one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.streaming import Operand, Tile, Workspace
from edgec.memory.tiling.step import StepContext


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    k = step.type("x").shape[1]
    numbers = {"rows": step.rows("x"), "k": k, "group_size": step.attr("group_size")}
    numbers |= {"inv_k": 1.0 / k, "eps": float(step.node.attrs["eps"])}
    operands: dict[str, Operand] = {role: step.fetch(role) for role in ("x", "gain")}
    operands |= {role: step.deliver(role) for role in ("q", "scale", "sums")}
    yield lambda workspace: [Tile("rmsnorm_quantize", operands, numbers)]
