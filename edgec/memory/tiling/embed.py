"""embed: gathers the tokens' packed rows, then one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.plan import Number
from edgec.memory.streaming import Load, Operand, Tile, Workspace
from edgec.memory.tiling.step import StepContext
from edgec.ops.embed import ROLES


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    rows = step.rows("tokens")
    operands: dict[str, Operand] = {"y": step.deliver("y")}
    for role in ROLES:
        operands[role] = (
            Load(step.home(role), step.type(role).row_bytes, rows, "token", f"{step.node.name}.{role}_rows")
            if step.has(role)
            else None
        )
    numbers: dict[str, Number] = {"m": rows, "factor": float(step.node.attrs.get("factor", 1.0))}
    numbers |= {key: step.attr(key) for key in ("k", "bits", "group_size")}
    yield lambda workspace: [Tile("embed", operands, numbers)]
