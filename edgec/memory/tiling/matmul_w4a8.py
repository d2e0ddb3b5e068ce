"""matmul: output channels in tiles, each tile's packed weights, scales, zeros and biases streamed together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from edgec.memory.plan import Region
from edgec.memory.streaming import NoRoom, Operand, Store, Tile, Workspace
from edgec.memory.tiling.step import StepContext

Roles = tuple[str, ...]
ACTIVATIONS, BY_CHANNEL = ("x", "x_scale", "x_sums"), ("w", "w_scale", "w_zero", "w_min", "bias")
GRAIN = 8  # channels of a tile are a multiple of the cores
STRIPS = 8 * GRAIN  # or, of a large one, of strips of eight for each: what fills none takes longer


def candidates(
    step: StepContext, kernel: str = "", activations: Roles = ACTIVATIONS, by_channel: Roles = BY_CHANNEL
) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """From one tile up, doubling, down to GRAIN channels a tile, rounded to whole strips.

    kernel: if it has another name than the op; activations are fetched whole, by_channel in rows of the tile.
    """
    n = step.type("w").shape[0]
    tile_by = partial(_tile_by, step, kernel or step.node.op, activations, by_channel)
    if step.resident("w") and step.resident("y"):
        yield partial(tile_by, n)
        return
    count = 1
    while True:
        size = -(-n // count)
        if count > 1 and size >= STRIPS:
            size = (size + STRIPS // 2) // STRIPS * STRIPS
        size = -(-size // GRAIN) * GRAIN
        yield partial(tile_by, size)
        if size == GRAIN:
            return
        count *= 2


def _tile_by(
    step: StepContext, kernel: str, activations: Roles, by_channel: Roles, size: int, workspace: Workspace
) -> list[Tile]:
    """Tiles of `size` channels."""
    n, y = step.type("w").shape[0], step.type("y")
    m = step.rows("x")
    resident = step.resident("y")
    if not resident and y.shape[0] > 1:
        raise NoRoom(step.target.compute, y.nbytes, 0)  # a strided store of many rows: not planned
    longest = min((link.max_bytes for link in step.target.links), default=0)
    weight_row = step.type("w").row_bytes
    if not step.resident("w") and min(size, n) * weight_row > longest and size > GRAIN:
        raise NoRoom(step.target.compute, min(size, n) * weight_row, longest)
    tiles = []
    whole: dict[str, Operand] = {role: step.fetch(role) for role in activations}
    absent: dict[str, Operand] = {role: None for role in by_channel if not step.has(role)}
    streamed = [role for role in by_channel if step.has(role)]
    for first in range(0, n, size):
        rows = min(size, n - first)
        operands = whole | absent
        for role in streamed:
            operands[role] = step.fetch(role, first, rows)
        # Columns [first, first + rows) of every row: from the first row's first to the last row's last byte.
        span = (y.shape[0] - 1) * y.row_bytes + rows * 4
        part: Region = step.home("y").part(first * 4, span)
        operands["y"] = part if resident else Store(part, rows * 4, 1)
        operands["addend"] = _addend(step, first, rows)
        numbers = {"m": m, "n": rows, "k": step.attr("k"), "group_size": step.attr("group_size")}
        numbers["ldy"] = n if resident else rows
        tiles.append(Tile(kernel, operands, numbers))
    return tiles


def _addend(step: StepContext, first: int, count: int) -> Operand:
    """These columns of the addend; None if there is none."""
    if not step.has("addend"):
        return None
    if not step.resident("addend") and step.type("addend").shape[0] > 1:
        raise NoRoom(step.target.compute, step.type("addend").nbytes, 0)  # a strided load of many rows: not planned
    return step.fetch_columns("addend", first, count)
