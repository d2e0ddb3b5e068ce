"""gelu: one call of the form's kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.plan import Number
from edgec.memory.streaming import Operand, Tile, Workspace
from edgec.memory.tiling.step import StepContext


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    operands: dict[str, Operand] = {"x": step.fetch("x"), "y": step.deliver("y")}
    numbers: dict[str, Number] = {"rows": step.rows("x"), "k": step.type("x").shape[1]}
    yield lambda workspace: [Tile(f"gelu_{step.node.attrs['form']}", operands, numbers)]
