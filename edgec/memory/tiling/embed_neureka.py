"""embed of an encoded table: a call for each group, whose rows of the tokens are gathered beside the call before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from edgec.memory.plan import Number, rows_of_part
from edgec.memory.streaming import Load, NoRoom, Operand, Tile, Workspace
from edgec.memory.tiling.matmul_w4a8_neureka import split_of_step
from edgec.memory.tiling.step import StepContext


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    yield partial(_calls, step)


def _calls(step: StepContext, workspace: Workspace) -> list[Tile]:
    if not step.resident("y"):
        raise NoRoom(step.target.compute, step.type("y").nbytes, 0)  # rows of columns are not stored
    rows, table, y = step.rows("tokens"), step.home("w"), step.type("y")
    vocabulary, groups = step.type("w_scale").shape
    line, name = step.type("w").row_bytes, step.node.name
    size = step.attr("k") // groups
    scales = Load(step.home("w_scale"), step.type("w_scale").row_bytes, rows, "token", f"{name}.w_scale_rows")
    tail, tails = split_of_step(step).tail, None
    if tail:
        tails = Load(step.home("w_tail"), step.type("w_tail").row_bytes, rows, "token", f"{name}.w_tail_rows")
    numbers: dict[str, Number] = {"m": rows, "tail": tail, "factor": float(step.node.attrs.get("factor", 1.0))}
    numbers |= {key: step.attr(key) for key in ("k", "bits", "group_size")}
    tiles = []
    for group in range(groups):
        part = table.part(group * vocabulary * line, vocabulary * line)
        columns = step.home("y").part(4 * group * size, (y.shape[0] - 1) * y.row_bytes + 4 * size)
        w = Load(part, line, rows, "token", rows_of_part(f"{name}.w_rows", group))
        operands: dict[str, Operand] = {"w": w, "w_scale": scales, "y": columns, "w_tail": tails}
        tiles.append(Tile(step.node.op, operands, {**numbers, "group": group}))
    return tiles
