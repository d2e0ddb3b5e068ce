"""add_positions: the table's rows from position pos on, then one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.plan import Number
from edgec.memory.streaming import Operand, Tile, Workspace
from edgec.memory.tiling.step import StepContext


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    rows = step.rows("x")
    table = step.fetch_positions("table", rows)
    operands: dict[str, Operand] = {"x": step.fetch("x"), "table": table, "y": step.deliver("y")}
    numbers: dict[str, Number] = {"m": rows, "k": step.type("table").shape[1]}
    yield lambda workspace: [Tile("add_positions", operands, numbers)]
