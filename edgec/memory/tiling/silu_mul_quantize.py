"""silu_mul_quantize: as silu_mul; gate is used up."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.streaming import Tile, Workspace
from edgec.memory.tiling.silu_mul import operands_of
from edgec.memory.tiling.step import StepContext


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    operands, numbers = operands_of(step)
    operands |= {role: step.deliver(role) for role in ("q", "scale", "sums")}
    yield lambda workspace: [Tile("silu_mul_quantize", operands, numbers | {"group_size": step.attr("group_size")})]
