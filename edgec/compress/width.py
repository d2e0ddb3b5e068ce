"""Width pruning: in every row of a matrix, N of every M consecutive weights become exactly zero.

    pattern = "2:4"    remove 2 of every 4: the two with the lowest scores (NVIDIA's papers count what is kept instead)
    sparsity = 0.5     remove half of each row, wherever the lowest scores are

metric = "wanda"       |w| times the norm of its input on a calibration text (compress/wanda.py)
         "magnitude"   |w| alone; needs no text

The pruned matrices' names and patterns go into Checkpoint.patterns; later stages leave their zeros alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgec.compress.masks import Mask, keep_highest, pruned_codes
from edgec.compress.stage import Work
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, ModelConfig
from edgec.frontend.structure import Structure, role_of

ROLES = ("q", "k", "v", "o", "gate", "up", "down")
METRICS = ("wanda", "magnitude")


@dataclass(frozen=True)
class Width:
    """What is removed, from which matrices, and by which measure."""

    method: ClassVar[str] = "width"
    pattern: str = ""  # "N:M": remove N of M; or
    sparsity: float = 0.0  # this share of every row
    metric: str = "wanda"
    roles: tuple[str, ...] = ROLES
    samples: int = 128  # windows of the calibration text, or as many as it has
    length: int = 0  # tokens of a window; 0: the calibration's

    def __post_init__(self) -> None:
        if bool(self.pattern) == bool(self.sparsity):
            raise RecipeError('width takes either a pattern such as "2:4" (remove 2 of 4) or a sparsity such as 0.5.')
        if self.pattern:
            _parse(self.pattern)
        elif not 0 < self.sparsity < 1:
            raise RecipeError(f"width.sparsity is {self.sparsity}; it is a share between 0 and 1.")
        if self.metric not in METRICS:
            raise RecipeError(f"width.metric {self.metric!r} is unknown; known: {', '.join(METRICS)}.")
        for role in self.roles:
            if role not in ROLES:
                raise RecipeError(f"width.roles has no role {role!r}; known: {', '.join(ROLES)}.")
        if not self.roles or self.samples < 1 or (self.length != 0 and self.length < 2):
            raise RecipeError("width needs at least one role, one sample, and windows of 2 tokens (0: as calibration).")

    def shape(self, config: ModelConfig) -> ModelConfig:
        """Unchanged. Raises RecipeError if the pattern does not divide a row."""
        self.patterns(Structure(config))
        return config

    def patterns(self, structure: Structure) -> dict[str, tuple[int, int]]:
        """(removed, of) for every stored matrix that is pruned in a model of this structure."""
        found = {}
        shapes = structure.shapes()
        for name in structure.stored_matrices():
            if role_of(name) in self.roles:
                k = shapes[name][1]
                removed, of = _parse(self.pattern) if self.pattern else (round(self.sparsity * k), k)
                if k % of:
                    raise RecipeError(
                        f"width.pattern {self.pattern} does not divide the rows of {name}: {k} inputs are not a "
                        f"multiple of {of}. Choose another pattern, leave its role out, or use sparsity."
                    )
                if not 0 < removed < of:
                    raise RecipeError(
                        f"width.sparsity {self.sparsity} removes {removed} of the {k} inputs of {name}; it must remove "
                        "some and leave some."
                    )
                found[name] = (removed, of)
        return found

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The model with the matrices of `roles` pruned; low-rank branches beside them stay as they are.

        Raises RecipeError for a text too short for one window, and for packed matrices whose grid has no zero.
        """
        patterns = self.patterns(model.structure)
        kept, lost = self._choose(model, patterns, work)
        # A grid with a minimum rarely holds zero: such matrices (of a GGUF file) become float.
        on_grid = {n for n in patterns if n in model.packed and model.packed[n]().minimum is None}
        names = [name for name in patterns if name not in on_grid]
        made = model.with_tensors({n: np.where(kept[n], model.tensor(n), np.float32(0)) for n in names})
        made = made.with_packed({n: pruned_codes(n, model.packed[n](), kept[n]) for n in patterns if n in on_grid})
        for name, old in model.patterns.items():
            # The zeros of an earlier pruning are still there: a matrix that lost more then keeps that pattern.
            if name in patterns and old[0] * patterns[name][1] >= patterns[name][0] * old[1]:
                patterns[name] = old
        work.notes["lost"] = {name: float(f"{part:.4g}") for name, part in lost.items()}
        return made.with_tensors({}, patterns=dict(model.patterns) | patterns)

    def _choose(
        self, model: Checkpoint, patterns: dict[str, tuple[int, int]], work: Work
    ) -> tuple[dict[str, Mask], dict[str, float]]:
        """Masks by name, and the share of the squared scores that they remove."""
        if self.metric == "magnitude":
            kept: dict[str, Mask] = {}
            lost: dict[str, float] = {}
            for done, (name, pattern) in enumerate(patterns.items()):
                work.say("matrices", done, len(patterns))
                score: Any = np.abs(model.tensor(name))
                kept[name] = keep_highest(score, *pattern)
                power = np.square(score, dtype=np.float64)
                lost[name] = float(power[~kept[name]].sum() / max(power.sum(), 1e-300))
            return kept, lost
        from edgec.compress.calibration import windows
        from edgec.compress.wanda import wanda_masks

        tokens = windows(model, work.calibration, self.samples, self.length or None, at_most=True)
        work.notes["samples"] = len(tokens)
        return wanda_masks(model, patterns, tokens, work)


def _parse(pattern: str) -> tuple[int, int]:
    """(removed, of) of "N:M"."""
    match = re.fullmatch(r"(\d{1,5}):(\d{1,5})", pattern)
    if match is None or not 0 < int(match[1]) < int(match[2]):
        raise RecipeError(
            f'width.pattern {pattern!r} is not "N:M" with 0 < N < M, such as "2:4": remove 2 of every 4 weights.'
        )
    return int(match[1]), int(match[2])


STAGE = Width
