"""pool: one call, which knows the position of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.plan import Number, Position
from edgec.memory.streaming import Operand, Tile, Workspace
from edgec.memory.tiling.step import StepContext


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    operands: dict[str, Operand] = {"x": step.fetch("x"), "sum": step.home("sum"), "y": step.deliver("y")}
    numbers: dict[str, Number] = {"m": step.rows("x"), "k": step.type("x").shape[1], "pos": Position(0)}
    numbers["mean"] = int(step.node.attrs["mode"] == "mean")
    yield lambda workspace: [Tile("pool", operands, numbers)]
