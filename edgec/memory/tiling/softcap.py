"""softcap: one call, or tiles of a single row that is too long for the compute memory (logits)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from edgec.memory.streaming import Operand, Store, Tile, Workspace
from edgec.memory.tiling.step import StepContext, times

SHORTEST = 256  # elements of a tile


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The whole, half of it, ... SHORTEST elements."""
    kind = step.type("x")
    if kind.shape[0] > 1 or (step.resident("x") and step.resident("y")):
        operands = {"x": step.fetch("x"), "y": step.deliver("y")}
        numbers = {"n": times(step.rows("x"), kind.shape[1]), "cap": float(step.node.attrs["cap"])}
        yield lambda workspace: [Tile("softcap", operands, numbers)]
        return
    longest = min((link.max_bytes for link in step.target.links), default=kind.nbytes) // 4
    size = kind.shape[1]
    while True:
        if size <= longest or size <= SHORTEST:
            yield partial(_tiles, step, size)
        if size <= SHORTEST:
            return
        size = -(-size // 2)


def _tiles(step: StepContext, size: int, workspace: Workspace) -> list[Tile]:
    cap, n = float(step.node.attrs["cap"]), step.type("x").shape[1]
    tiles = []
    for first in range(0, n, size):
        count = min(size, n - first)
        part = step.home("y").part(first * 4, count * 4)
        y: Operand = part if step.resident("y") else Store(part, count * 4, 1)
        tiles.append(Tile("softcap", {"x": step.fetch_columns("x", first, count), "y": y}, {"n": count, "cap": cap}))
    return tiles
