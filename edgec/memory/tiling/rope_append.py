"""rope_append: the table's rows from position pos on, one call, and new rows to the cache as kv_append takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.plan import Number
from edgec.memory.streaming import Operand, Tile, Workspace
from edgec.memory.tiling.kv_append import leaving
from edgec.memory.tiling.step import StepContext


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    rows = step.rows("x")
    numbers: dict[str, Number] = {"m": rows}
    numbers |= {name: step.attr(name) for name in ("n_heads", "n_kv_heads", "head_dim")}
    numbers["unit"] = float(step.node.attrs["unit"])
    operands: dict[str, Operand] = {
        "x": step.fetch("x"),
        "table": step.fetch_positions("table", rows),
        "shift": step.fetch("k_centre"),
    }
    operands |= {"q": step.deliver("q"), "q_scale": step.deliver("q_scale")}
    for role in ("k", "v"):
        operands |= {f"{role}_q": step.home(f"{role}_q"), f"{role}_scale": step.home(f"{role}_q_scale")}
    after = tuple(store for role in ("k", "v") for store in leaving(step, role, rows))
    yield lambda workspace: [Tile("rope_append", operands, numbers, after=after)]
