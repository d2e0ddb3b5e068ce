"""matmul on N-EUREKA: one call; the weights stay where the accelerator reads them, its accumulators are scratch.

Candidates are how many channels a tile of accumulators has at most, and how many the first one has: a small one gives
the cores work early. Which first one is best for a tile, the cost model says at once; of the tiles those stay that no
smaller one beats, for smaller ones take less memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from edgec.cost.neureka import matmul_cycles
from edgec.memory.streaming import NoRoom, Operand, Tile, Workspace
from edgec.memory.tiling.step import StepContext
from edgec.neureka.engine import COUT, TAPS
from edgec.neureka.matrix import Split, split_of
from edgec.ops.matmul_w4a8_neureka import call_numbers, half, slots
from edgec.packing import n_groups

PARTS_OF_12 = (1, 2, 3, 4, 6, 8, 9, 12)  # of all channels: tiles to choose from


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """Tiles from all channels down to a pass of the engine."""
    m, n = step.type("y").shape
    return (partial(_call, step, *sizes) for sizes in tiles(step, m, n, n, {}))


def tiles(
    step: StepContext, m: int, n: int, width: int, more: dict[str, int], parts_of_12: tuple[int, ...] = PARTS_OF_12
) -> list[tuple[int, int]]:
    """Channels of tiles and of the first one, of `width`: fastest of m rows first. more: other numbers of the call."""
    unit = step.target.accelerator("neureka")
    assert unit is not None  # else nothing is encoded for it
    k, group_size, split = step.attr("k"), step.attr("group_size"), split_of_step(step)
    found: list[tuple[float, int, int]] = []
    for tile in sorted({min(width, -(-width * part // (12 * COUT)) * COUT) for part in parts_of_12}):
        firsts = sorted({tile, half(tile), min(tile, 2 * COUT), min(tile, COUT)}, reverse=True)
        calls = [call_numbers(step.node.op, n, k, group_size, tile, first, split) for first in firsts]
        costs = [matmul_cycles(unit, step.target.engines[0], step.node.op, c | {"m": m} | more) for c in calls]
        best = min(range(len(firsts)), key=costs.__getitem__)
        if not found or costs[best] < found[-1][0]:
            found.append((costs[best], tile, firsts[best]))
    return [(tile, first) for _, tile, first in reversed(found)]


def split_of_step(step: StepContext) -> Split:
    """The inputs apart of its matrix's groups."""
    w_tail, w_fold = (step.type(role) if step.has(role) else None for role in ("w_tail", "w_fold"))
    return split_of(step.attr("k"), step.attr("group_size"), w_tail, w_fold)


def folded(step: StepContext, rows: int, workspace: Workspace) -> dict[str, Operand]:
    """Operands of the job of folded inputs of so many rows, if there are any: weights where they lie, and scratch."""
    if not step.has("w_fold"):
        return {"w_fold": None, "fold_acc": None}
    size = rows * TAPS["3x3"] * step.type("w_fold").shape[0] * 4
    sums = workspace.allocate(f"{step.node.name}.fold_acc", size, "scratch")
    return {"w_fold": step.home("w_fold"), "fold_acc": sums}


def _call(step: StepContext, tile: int, first: int, workspace: Workspace) -> list[Tile]:
    y, k, group_size = step.type("y"), step.attr("k"), step.attr("group_size")
    if not step.resident("y") and y.shape[0] > 1:
        raise NoRoom(step.target.compute, y.nbytes, 0)  # many rows of a result that lies elsewhere: not planned
    loaded = ("x", "x_scale", "w_scale", "bias", "w_tail", "addend")
    operands: dict[str, Operand] = {role: step.fetch(role) for role in loaded}
    size = slots(y.shape[1], tile, first) * y.shape[0] * n_groups(k, group_size) * tile * 4
    operands |= {"w": step.home("w"), "y": step.deliver("y")}
    operands["acc"] = workspace.allocate(f"{step.node.name}.acc", size, "scratch")
    operands |= folded(step, y.shape[0], workspace)
    numbers = call_numbers(step.node.op, y.shape[1], k, group_size, tile, first, split_of_step(step))
    return [Tile(step.node.op, operands, {**numbers, "m": step.rows("x")})]
