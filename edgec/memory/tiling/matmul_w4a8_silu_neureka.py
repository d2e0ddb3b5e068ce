"""gate and up on N-EUREKA with SiLU: one call, tiled as the matmul alone; its result stays scratch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from edgec.memory.plan import Number
from edgec.memory.streaming import Operand, Tile, Workspace
from edgec.memory.tiling.matmul_w4a8_neureka import PARTS_OF_12, folded, split_of_step, tiles
from edgec.memory.tiling.step import StepContext
from edgec.ops.matmul_w4a8_neureka import call_numbers, slots
from edgec.ops.matmul_w4a8_silu_neureka import PARTS
from edgec.packing import n_groups

LOADED = ("x", "x_scale", "w_scale", "bias", "w_tail")


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """Tiles from all of gate's channels down to a pass of the engine."""
    m, width = step.type("q").shape
    # 7: a first tile of more than half leaves the cores less to do behind the engine's last job.
    sizes = tiles(step, m, PARTS * width, width, {"out_group": step.attr("out_group")}, (*PARTS_OF_12, 7))
    return (partial(_call, step, *size) for size in sizes)


def _call(step: StepContext, tile: int, first: int, workspace: Workspace) -> list[Tile]:
    (m, width), k, group_size = step.type("q").shape, step.attr("k"), step.attr("group_size")
    operands: dict[str, Operand] = {role: step.fetch(role) for role in LOADED}
    operands |= {role: step.deliver(role) for role in ("q", "scale", "sums")} | {"w": step.home("w")}
    size = slots(width, tile, first) * PARTS * m * n_groups(k, group_size) * tile * 4
    operands["acc"] = workspace.allocate(f"{step.node.name}.acc", size, "scratch")
    operands |= folded(step, m, workspace)
    operands["y"] = workspace.allocate(f"{step.node.name}.y", m * PARTS * width * 4, "scratch")
    sizes = call_numbers(step.node.op, PARTS * width, k, group_size, tile, first, split_of_step(step))
    numbers: dict[str, Number] = {**sizes, "m": step.rows("x"), "out_group": step.attr("out_group")}
    return [Tile(step.node.op, operands, numbers)]
