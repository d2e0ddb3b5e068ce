"""rmsnorm: one call; rows of the gain's length (a head's, for q and k norms)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgec.memory.streaming import Tile, Workspace
from edgec.memory.tiling.step import StepContext, times


def candidates(step: StepContext) -> Iterator[Callable[[Workspace], list[Tile]]]:
    """The only candidate."""
    x, gain = step.type("x"), step.type("gain")
    k = gain.shape[0]
    numbers = {
        "rows": times(step.rows("x"), x.shape[1] // k),
        "k": k,
        "inv_k": 1.0 / k,
        "eps": float(step.node.attrs["eps"]),
    }
    operands = {"x": step.fetch("x"), "gain": step.fetch("gain"), "y": step.deliver("y")}
    yield lambda workspace: [Tile("rmsnorm", operands, numbers)]
