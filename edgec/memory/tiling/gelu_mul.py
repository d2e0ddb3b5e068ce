"""gelu_mul: as silu_mul."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.streaming import Tile, Workspace
from edgec.memory.tiling.silu_mul import operands_of
from edgec.memory.tiling.step import StepContext


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    operands, numbers = operands_of(step)
    operands["y"] = step.deliver("y")
    yield lambda workspace: [Tile("gelu_mul", operands, numbers)]
