"""add_positions: the table's rows from position pos on, then one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.plan import Number
from edgec.memory.streaming import Load, Operand, Tile, Workspace
from edgec.memory.tiling.step import StepContext


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    table, rows = step.type("table"), step.rows("x")
    load = Load(step.home("table"), table.row_bytes, rows, "source_pos", f"{step.node.name}.rows")
    operands: dict[str, Operand] = {"x": step.fetch("x"), "table": load, "y": step.deliver("y")}
    numbers: dict[str, Number] = {"m": rows, "k": table.shape[1]}
    yield lambda workspace: [Tile("add_positions", operands, numbers)]
