"""silu_mul: one call; gate and up may be the halves of one input's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.plan import Number
from edgec.memory.streaming import Operand, Tile, Workspace
from edgec.memory.tiling.step import StepContext


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    operands, numbers = operands_of(step)
    operands["y"] = step.deliver("y")
    yield lambda workspace: [Tile("silu_mul", operands, numbers)]


def operands_of(step: StepContext) -> tuple[dict[str, Operand], dict[str, Number]]:
    """gate and up in the compute memory; rows, k and ldx."""
    if step.has("gate"):
        k = step.type("gate").shape[1]
        found: dict[str, Operand] = {role: step.fetch(role) for role in ("gate", "up")}
        return found, {"rows": step.rows("gate"), "k": k, "ldx": k}
    k = step.type("gate_up").shape[1] // 2
    halves: dict[str, Operand] = {r: step.fetch_columns("gate_up", at, k) for r, at in (("gate", 0), ("up", k))}
    return halves, {"rows": step.rows("gate_up"), "k": k, "ldx": 2 * k}
