"""gate and up on N-EUREKA with SiLU: one call, tiled as the matmul alone; its result stays scratch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from edgec.memory.plan import Number
from edgec.memory.streaming import Operand, Tile, Workspace
from edgec.memory.tiling.matmul_w4a8_neureka import sizes
from edgec.memory.tiling.step import StepContext
from edgec.ops.matmul_w4a8_neureka import TILES
from edgec.ops.matmul_w4a8_silu_neureka import PARTS
from edgec.packing import n_groups


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """Tiles of up to half of gate's channels, a quarter, ... two passes of the engine."""
    return (partial(_call, step, size) for size in sizes(step.type("q").shape[1]))


def _call(step: StepContext, tile: int, workspace: Workspace) -> list[Tile]:
    (m, width), k, group_size = step.type("q").shape, step.attr("k"), step.attr("group_size")
    operands: dict[str, Operand] = {role: step.fetch(role) for role in ("x", "x_scale", "w_scale", "bias")}
    operands |= {role: step.deliver(role) for role in ("q", "scale", "sums")} | {"w": step.home("w")}
    size = TILES * PARTS * m * n_groups(k, group_size) * tile * 4
    operands["acc"] = workspace.allocate(f"{step.node.name}.acc", size, "scratch")
    operands["y"] = workspace.allocate(f"{step.node.name}.y", m * PARTS * width * 4, "scratch")
    numbers: dict[str, Number] = {"m": step.rows("x"), "n": PARTS * width, "k": k, "group_size": group_size}
    return [Tile(step.node.op, operands, numbers | {"tile": tile, "out_group": step.attr("out_group")})]
