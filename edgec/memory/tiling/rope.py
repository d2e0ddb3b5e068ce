"""rope: the table's rows from position pos on, then one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.streaming import Tile, Workspace
from edgec.memory.tiling.step import StepContext
from edgec.ops.rope import columns


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    d = step.attr("head_dim")
    rows, kind = step.rows("x"), step.type("x")
    first, width = columns(step.node.attrs, kind.shape[1])
    numbers = {"m": rows, "heads": width // d, "head_dim": d, "ldx": kind.shape[1]}
    numbers["unit"] = float(step.node.attrs["unit"])
    table = step.fetch_positions("table", rows)
    operands = {"x": step.fetch_columns("x", first, width), "table": table, "y": step.deliver("y")}
    yield lambda workspace: [Tile("rope", operands, numbers)]
