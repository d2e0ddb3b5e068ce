"""MASS: matrices of one role over many blocks become one, which is stored once.

    roles = ["q", "k"]     or "k+v": both of all blocks in one group, if their shapes are equal
    blocks = ["8:23"]      blocks 8 to 22 share; default: all but the first and the last
    size = 0               or so many consecutive blocks share at a time

by = "mean"                the mean of the matrices
     "weighted"            the mean weighted by their Frobenius norms
     "medoid"              that of them with the least summed Frobenius distance to the others, exactly as it is

Means are computed in float64 from all members, and only from them, and rounded to float32 once. Norms and biases stay
each block's own. A mean of packed or pruned matrices is float and dense; a medoid keeps its codes and zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgec.compress.groups import ROLES, block_ranges, check_ranges, check_roles, check_whole, grouped
from edgec.compress.stage import Work
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, FloatArray
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.structure import Structure

AGGREGATIONS = ("mean", "weighted", "medoid")
Read = Callable[[str], FloatArray]


@dataclass(frozen=True)
class Mass:
    """Which matrices become one, and which one."""

    method: ClassVar[str] = "mass"
    roles: tuple[str, ...] = ROLES
    blocks: tuple[str, ...] = ()
    size: int = 0
    by: str = "mean"

    def __post_init__(self) -> None:
        check_roles("mass", self.roles, together=True)
        check_ranges("mass", self.blocks)
        if self.by not in AGGREGATIONS:
            raise RecipeError(f"mass.by {self.by!r} is unknown; known: {', '.join(AGGREGATIONS)}.")
        if self.size < 0 or self.size == 1:
            raise RecipeError(f"mass.size is {self.size}; it is 0 (a whole range) or at least 2 blocks.")

    def shape(self, config: ModelConfig) -> ModelConfig:
        """Unchanged. Raises RecipeError for blocks that the model lacks and groups whose shapes differ."""
        self._groups(Structure(config))
        return config

    def structure(self, structure: Structure) -> Structure:
        """With one matrix for each group."""
        groups = self._groups(structure)
        members = [name for names in groups for name in names]
        owners = {name: names[0] for names in groups for name in names[1:]}
        return structure.without(n for n in members if n in structure.shared).with_shared(owners)

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The model with one stored matrix for each group; branches beside the members are added to them first.

        work.notes get by stored matrix its `members`, `relative_error` sqrt(sum |W_j - M|^2 / sum |W_j|^2), and the
        `medoid` where that was asked for.
        """
        groups = self._groups(model.structure)
        members = {names[0]: names for names in groups}
        made, chosen, missed = {}, {}, {}
        for done, (owner, names) in enumerate(members.items()):
            work.say("groups", done, len(members))
            if self.by == "medoid":
                chosen[owner] = medoid(names, model.effective)
                made[owner] = model.effective(chosen[owner])
            else:
                weights = norms(names, model.effective) if self.by == "weighted" else None
                made[owner] = mean(names, model.effective, weights)
            missed[owner] = _relative_error(names, model.effective, made[owner])
        work.notes["members"] = members
        work.notes["relative_error"] = missed
        if chosen:
            work.notes["medoid"] = chosen
        taken = {name for names in groups for name in names}
        result = model.with_tensors(
            made,
            branches={name: branch for name, branch in model.branches.items() if name not in taken},
            patterns={name: pattern for name, pattern in model.patterns.items() if name not in taken},
        )
        result = result.with_shared({name: names[0] for names in groups for name in names[1:]})
        exact = {o: model.owner(n) for o, n in chosen.items() if model.owner(n) not in model.branches}
        patterns = {owner: model.patterns[name] for owner, name in exact.items() if name in model.patterns}
        packed = {owner: model.packed[name]() for owner, name in exact.items() if name in model.packed}
        return result.with_packed(packed, patterns=dict(result.patterns) | patterns)

    def _groups(self, structure: Structure) -> list[list[str]]:
        n = structure.config.n_layers
        ranges = block_ranges("mass", self.blocks, n, range(1, n - 1))
        groups = grouped("mass", structure.config, self.roles, ranges, self.size, rows_alike=True)
        check_whole("mass", structure, groups)
        return groups


def mean(names: Sequence[str], read: Read, weights: Sequence[float] | None = None) -> FloatArray:
    """The mean of matrices, float32; weighted by `weights`, which need not sum to 1."""
    shares = np.ones(len(names)) if weights is None else np.asarray(weights, np.float64)
    shares = shares / shares.sum() if shares.sum() else np.full(len(names), 1 / len(names))
    total = np.zeros(read(names[0]).shape)
    for name, share in zip(names, shares, strict=True):
        total += share * read(name)
    return total.astype(np.float32)


def norms(names: Sequence[str], read: Read) -> list[float]:
    """Frobenius norms."""
    return [float(np.linalg.norm(read(name).astype(np.float64))) for name in names]


def distances(names: Sequence[str], read: Read) -> NDArray[np.float64]:
    """Frobenius distances [members, members]."""
    found = np.zeros((len(names), len(names)))
    for i, name in enumerate(names):
        mine = read(name).astype(np.float64)
        for j in range(i):
            found[i, j] = found[j, i] = np.linalg.norm(mine - read(names[j]))
    return found


def medoid(names: Sequence[str], read: Read) -> str:
    """The member with the least summed distance to the others; the first of equals."""
    return names[int(np.argmin(distances(names, read).sum(axis=1)))]


def _relative_error(names: Sequence[str], read: Read, one: FloatArray) -> float:
    lost = sum(float(np.square(read(name).astype(np.float64) - one).sum()) for name in names)
    total = sum(norm**2 for norm in norms(names, read))
    return float(f"{(lost / total) ** 0.5 if total else 0.0:.4g}")


STAGE = Mass
