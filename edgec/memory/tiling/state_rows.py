"""load_rows, store_rows: rows of a state that lies elsewhere come into the compute memory, or leave it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.plan import Number
from edgec.memory.streaming import Load, Operand, Store, Tile, Workspace
from edgec.memory.tiling.step import StepContext


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate: a load from row pos on, or a store there behind the call."""
    state, size = step.home("rows"), step.type("rows").row_bytes
    loads = step.node.op == "load_rows"
    rows = step.rows("tokens" if loads else "x")
    numbers: dict[str, Number] = {"m": rows, "k": step.type("rows").shape[1]}
    source: Operand = Load(state, size, rows, "source_pos", f"{step.node.name}.rows") if loads else step.fetch("x")
    y = step.home("y")
    after = () if loads else ((y, Store(state, size, rows, "target_pos")),)
    yield lambda workspace: [Tile("copy_rows", {"x": source, "y": y}, numbers, after=after)]
