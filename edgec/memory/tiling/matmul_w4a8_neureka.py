"""matmul on N-EUREKA: one call; the weights stay where the accelerator reads them, its accumulators are scratch.

Candidates are how many channels a tile of accumulators has at most. The kernel halves tiles by itself towards the end;
smaller ones take less memory, and with several groups, which take long to scale, they leave less of that to the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from edgec.memory.plan import Number
from edgec.memory.streaming import NoRoom, Operand, Tile, Workspace
from edgec.memory.tiling.step import StepContext
from edgec.neureka.engine import COUT
from edgec.ops.matmul_w4a8_neureka import TILES, tile_sizes
from edgec.packing import n_groups


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """Tiles of up to half the channels, a quarter, ... two passes of the engine."""
    return (partial(_call, step, size) for size in sizes(step.type("y").shape[1]))


def sizes(n: int) -> Iterator[int]:
    """Channels of the largest tile that candidates have, of n."""
    size = tile_sizes(n, n)[0]
    while True:
        yield size
        if size <= 2 * COUT:
            return
        size = max(2 * COUT, -(-size // (2 * COUT)) * COUT)


def _call(step: StepContext, tile: int, workspace: Workspace) -> list[Tile]:
    y, k, group_size = step.type("y"), step.attr("k"), step.attr("group_size")
    if not step.resident("y") and y.shape[0] > 1:
        raise NoRoom(step.target.compute, y.nbytes, 0)  # many rows of a result that lies elsewhere: not planned
    operands: dict[str, Operand] = {role: step.fetch(role) for role in ("x", "x_scale", "w_scale", "bias", "addend")}
    size = TILES * y.shape[0] * n_groups(k, group_size) * tile * 4
    operands |= {"w": step.home("w"), "y": step.deliver("y")}
    operands["acc"] = workspace.allocate(f"{step.node.name}.acc", size, "scratch")
    numbers: dict[str, Number] = {"m": step.rows("x"), "n": y.shape[1], "k": k, "group_size": group_size, "tile": tile}
    return [Tile(step.node.op, operands, numbers)]
