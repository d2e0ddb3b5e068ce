"""Width pruning: in every row of a matrix, N of every M consecutive weights become exactly zero.

    pattern = "2:4"    remove 2 of every 4: the two with the lowest scores (NVIDIA's papers count what is kept instead)
    sparsity = 0.5     remove half of each row, wherever the lowest scores are

metric = "wanda"       |w| times the norm of its input on a calibration text (compress/wanda.py)
         "magnitude"   |w| alone; needs no text

The pruned matrices' names and patterns go into Checkpoint.patterns; later stages leave their zeros alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgec.compress.masks import Mask, check_options, keep_highest, merged_patterns, patterns_of, pruned_codes
from edgec.compress.stage import Work
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.structure import Structure

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
        check_options("width", self.pattern, self.sparsity)
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
        return patterns_of("width", self.pattern, self.sparsity, self.roles, structure)

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
        work.notes["lost"] = {name: float(f"{part:.4g}") for name, part in lost.items()}
        return made.with_tensors({}, patterns=merged_patterns(model.patterns, patterns))

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


STAGE = Width
