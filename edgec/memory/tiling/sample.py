"""sample: reads the logits and the generator's state where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.streaming import Tile, Workspace
from edgec.memory.tiling.step import StepContext


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    operands = {role: step.home(role) for role in ("logits", "params", "token")}
    yield lambda workspace: [Tile("sample", operands, {"n": step.type("logits").shape[1]})]
