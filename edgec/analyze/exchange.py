"""Replacement and ablation: what a block's part is worth where it stands, and whether another block's would do.

    ablate[j]       loss without the part of block j, minus the dense model's
    replace[i][j]   loss with block i's part in place of block j's, minus the dense model's
    difference      replace[i][j] - ablate[j]: below 0, block i's part is better there than none

Losses are means of -ln p over a text; for another task of `edgec evaluate` they are minus its metric, so that more is
worse everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.analyze.cells import Cells, Say
from edgec.errors import EdgecError

Array = NDArray[np.float64]
LossOf = Callable[[str, int, int | None], float]  # part, block j, the block whose part comes there (None: no part)


@dataclass(frozen=True)
class Exchange:
    """Loss differences of one part; `replace` is [n, n] with nan where it was not asked for, 0 on its diagonal."""

    part: str
    dense: float
    ablate: Array
    replace: Array

    @property
    def difference(self) -> Array:
        """replace[i][j] - ablate[j]."""
        return self.replace - self.ablate[None, :]

    def rows(self) -> list[dict[str, Any]]:
        """One for every pair, `from` i `to` j; ablation has no i."""
        made: list[dict[str, Any]] = [
            {"part": self.part, "from": None, "to": j, "loss": self.dense + loss, "change": loss, "difference": None}
            for j, loss in enumerate(self.ablate)
        ]
        for (i, j), change in np.ndenumerate(self.replace):
            if np.isfinite(change):
                difference = float(self.difference[i, j])
                made.append(
                    {"part": self.part, "from": i, "to": j, "loss": self.dense + change, "change": float(change)}
                )
                made[-1]["difference"] = difference
        return made


def exchange(part: str, layers: int, dense: float, loss_of: LossOf, cells: Cells, say: Say, replace: bool) -> Exchange:
    """Ablation of a part in every block and, if asked, replacement for every pair of blocks."""
    wanted: dict[str, Callable[[], float]] = {
        f"{part} ablate {j}": lambda j=j: loss_of(part, j, None)  # type: ignore[misc]
        for j in range(layers)
    }
    if replace:
        wanted |= {
            f"{part} {i} in {j}": lambda i=i, j=j: loss_of(part, j, i)  # type: ignore[misc]
            for j in range(layers)
            for i in range(layers)
            if i != j
        }
    found = cells.fill(wanted, f"{part} of {layers} blocks", say)
    ablate = np.array([found[f"{part} ablate {j}"] - dense for j in range(layers)])
    table = np.full((layers, layers), np.nan)
    if replace:
        for j in range(layers):
            for i in range(layers):
                table[i, j] = 0.0 if i == j else found[f"{part} {i} in {j}"] - dense
    return Exchange(part, dense, ablate, table)


def observations(found: Exchange) -> list[str]:
    """What the theses saw, checked on this model: blocks that stand out, and how well neighbours stand in."""
    order = np.argsort(-found.ablate)
    worst = ", ".join(f"{j} (+{found.ablate[j]:.3g})" for j in order[:3])
    least = ", ".join(f"{j} ({found.ablate[j]:+.3g})" for j in order[::-1][:3])
    part = "" if found.part == "block" else f"'s {found.part}"
    lines = [f"without a block{part} the model loses most at {worst}, least at {least}"]
    if np.isfinite(found.replace).any():
        n = len(found.ablate)
        pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
        better = sum(found.difference[i, j] < 0 for i, j in pairs)
        near = [found.difference[i, j] for i, j in pairs if abs(i - j) == 1]
        far = [found.difference[i, j] for i, j in pairs if abs(i - j) > n // 2]
        lines.append(f"another block{part} is better than none in {better} of {len(pairs)} places")
        if near and far:
            lines.append(f"median difference of neighbours {np.median(near):+.3g}, of far blocks {np.median(far):+.3g}")
    return lines


def metric_loss(metrics: Mapping[str, float]) -> float:
    """Minus the task's first metric. Raises EdgecError if there is none."""
    if not metrics:
        raise EdgecError("the task gave no metric.")
    return -float(next(iter(metrics.values())))
