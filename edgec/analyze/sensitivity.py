"""How much each matrix minds each method: the loss with one matrix rounded, made a product, or pruned, alone.

    bits     round to nearest in groups of 64 (compress/rtn.py)
    rank     truncated SVD at a share of the matrix's parameters (compress/low_rank.py)
    pattern  N of M weights of a row removed by magnitude (compress/masks.py)

No calibration text is used, so figures compare matrices and widths, not the best of each method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from edgec.analyze.cells import Cells, Say
from edgec.analyze.variants import Variants
from edgec.compress.masks import keep_highest, parse_pattern
from edgec.compress.ranks import rank_of_ratio
from edgec.compress.rtn import quantize_matrix
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, FloatArray
from edgec.frontend.structure import role_of

GROUP = 64


@dataclass(frozen=True)
class Change:
    """One method at one strength."""

    kind: str  # "bits", "rank" or "pattern"
    value: str  # "4", "0.5", "2:4"

    @property
    def label(self) -> str:
        """As tables and axes say it."""
        return {"bits": f"{self.value} bits", "rank": f"rank {self.value}", "pattern": self.value}[self.kind]

    def applied(self, w: FloatArray) -> FloatArray | None:
        """The matrix after it; None if it cannot be done to this shape."""
        if self.kind == "bits":
            return quantize_matrix(w, int(self.value), GROUP)[0].dequantized()
        if self.kind == "rank":
            rank = rank_of_ratio(w.shape[0], w.shape[1], float(self.value))
            left, sizes, right = np.linalg.svd(w.astype(np.float64), full_matrices=False)
            product: FloatArray = ((left[:, :rank] * sizes[:rank]) @ right[:rank]).astype(np.float32)
            return product
        removed, of = parse_pattern("analyze", self.value)
        if w.shape[1] % of:
            return None
        return np.where(keep_highest(np.abs(w), removed, of), w, np.float32(0))


def changes(bits: Sequence[int], ranks: Sequence[float], patterns: Sequence[str]) -> list[Change]:
    """What is tried, mildest first of each kind. Raises RecipeError for values that no method takes."""
    for width in bits:
        if not 2 <= width <= 8:
            raise RecipeError(f"weights have 2 to 8 bits, not {width}.")
    for share in ranks:
        if not 0 < share <= 1:
            raise RecipeError(
                f"a rank is given as a share of the matrix's parameters above 0 and at most 1, not {share}."
            )
    for pattern in patterns:
        parse_pattern("analyze", pattern)
    made = [Change("bits", str(b)) for b in sorted(set(bits), reverse=True)]
    made += [Change("rank", f"{r:g}") for r in sorted(set(ranks), reverse=True)]
    return made + [Change("pattern", p) for p in dict.fromkeys(patterns)]


@dataclass(frozen=True)
class Sensitivity:
    """Loss differences to the dense model by matrix and change."""

    dense: float
    changes: tuple[Change, ...]
    losses: dict[str, dict[Change, float]]  # by matrix

    def rows(self) -> Iterator[dict[str, Any]]:
        """One for every matrix and change."""
        for name, by_change in self.losses.items():
            for change, loss in by_change.items():
                yield {
                    **{"matrix": name, "layer": int(name.split(".")[2]), "role": role_of(name)},
                    **{"kind": change.kind, "value": change.value, "change": loss},
                }

    def table(self, change: Change, roles: Sequence[str]) -> list[list[float | None]]:
        """[role][layer] of one change."""
        layers = 1 + max(int(name.split(".")[2]) for name in self.losses)
        made: list[list[float | None]] = [[None] * layers for _ in roles]
        for name, by_change in self.losses.items():
            if change in by_change:
                made[roles.index(role_of(name))][int(name.split(".")[2])] = by_change[change]
        return made


def sensitivity(
    model: Checkpoint, variants: Variants, roles: Sequence[str], tried: Sequence[Change], cells: Cells, say: Say
) -> Sensitivity:
    """The loss with each of the changes in each of the matrices of these roles, one at a time."""
    names = [name for name in model.stored_matrices() if role_of(name) in roles]

    def loss(name: str, change: Change) -> Callable[[], float]:
        def compute() -> float:
            made = change.applied(model.tensor(name))
            return float("nan") if made is None else variants.with_matrix(name, torch.from_numpy(made))

        return compute

    wanted = {f"{name} {change.label}": loss(name, change) for name in names for change in tried}
    found = cells.fill(wanted, "matrices", say)
    losses: dict[str, dict[Change, float]] = {}
    for name in names:
        tries = {change: found[f"{name} {change.label}"] - variants.dense for change in tried}
        losses[name] = {change: loss for change, loss in tries.items() if not np.isnan(loss)}
    return Sensitivity(variants.dense, tuple(tried), losses)
