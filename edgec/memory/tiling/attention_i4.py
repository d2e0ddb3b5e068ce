"""attention over a cache of 4 bits: tiled as attention, with the kernels that read two elements a byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.streaming import Tile, Workspace
from edgec.memory.tiling import attention
from edgec.memory.tiling.step import StepContext


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """Attention's."""
    return attention.candidates(step, "_i4")
