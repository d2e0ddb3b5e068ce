"""LoRA (Hu et al. 2021, arXiv 2106.09685) through PEFT: low-rank updates trained on text, merged or left as branches.

A pruned model gets its quality back here. Merged updates respect pruning: what was exactly zero in a matrix with a
pattern stays zero, and training sees the matrix as it will be merged, W + mask * (B A * alpha / r). Left unmerged
(`merge = false`), the update is a branch of its own that the emitted program runs (edgec/lower/llama.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgec.compress.eora import joined_branch
from edgec.compress.masks import mask
from edgec.compress.stage import Work
from edgec.errors import RecipeError, ToolError
from edgec.frontend.checkpoint import Checkpoint, FloatArray, LowRank, ModelConfig
from edgec.frontend.structure import role_of

ROLES = ("q", "k", "v", "o", "gate", "up", "down")


@dataclass(frozen=True)
class Lora:
    """What is trained, on how much text, how fast; `--minutes` or `minutes` end it earlier with the schedule scaled."""

    method: ClassVar[str] = "lora"
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.1
    roles: tuple[str, ...] = ("q", "k", "v", "o")  # or ["all"]
    merge: bool = True
    epochs: float = 1.0  # over `samples` windows of the calibration text
    steps: int = 0  # updates; 0: as many as the epochs take
    minutes: float = 0.0  # 0: no limit
    samples: int = 1024  # windows, or as many as the text has
    batch: int = 1  # windows of a forward pass
    accumulate: int = 2  # forward passes of an update
    rate: float = 2e-3  # of AdamW, falling along a cosine to 0
    warmup: float = 0.05  # share of the updates with a rising rate
    decay: float = 0.0  # AdamW's weight decay
    clip: float = 1.0  # largest norm of a gradient
    distill: float = 0.0  # share of the loss that is the distance from the original model's distribution
    temperature: float = 1.0  # of both distributions in that distance
    low_precision: bool = True  # products in bfloat16 where the processor multiplies it fast
    save_every: int = 20  # updates between resumable states

    def __post_init__(self) -> None:
        counts = {k: getattr(self, k) for k in ("rank", "samples", "batch", "accumulate", "save_every")}
        for name, value in counts.items():
            if value < 1:
                raise RecipeError(f"lora.{name} is {value}; it is at least 1.")
        for role in self.roles:
            if role not in (*ROLES, "all"):
                raise RecipeError(f"lora.roles has no role {role!r}; known: {', '.join(ROLES)}, all.")
        if not self.roles or self.epochs <= 0 or self.steps < 0 or self.minutes < 0:
            raise RecipeError("lora needs a role, epochs above 0, and steps and minutes of at least 0.")
        for name in ("dropout", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise RecipeError(f"lora.{name} is {getattr(self, name)}; it is at least 0 and below 1.")
        if not 0 <= self.distill <= 1:
            raise RecipeError(f"lora.distill is {self.distill}; it is a share from 0 to 1.")
        if min(self.alpha, self.rate, self.clip, self.temperature) <= 0 or self.decay < 0:
            raise RecipeError("lora.alpha, rate, clip and temperature are above 0, lora.decay at least 0.")

    def shape(self, config: ModelConfig) -> ModelConfig:
        """Unchanged."""
        return config

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The trained model, its patterns kept.

        Raises RecipeError for packed matrices that an update cannot be merged into, and if training diverges.
        """
        names = [name for name in model.stored_matrices() if self._takes(name)]
        if owned := next((name for name in names if name in model.shared.values()), None):
            raise RecipeError(f"the lora stage trains every matrix for itself, but blocks share {owned}; use distill.")
        if self.merge and any(name in model.packed for name in names):
            raise RecipeError(
                "the lora stage cannot merge into matrices that are quantised already; put it before quantize, or set "
                "merge = false to leave its updates as branches."
            )
        try:
            from edgec.compress.lora_training import train
        except ImportError as error:
            raise ToolError(f"the lora stage needs the package {error.name}: pip install 'edgec[compress]'.") from error
        kept = {n: found for n in names if self.merge and (found := mask(model, n)) is not None}
        updates = train(model, names, kept, self, work)
        if not self.merge:
            joined = {name: joined_branch(model.branches.get(name), update) for name, update in updates.items()}
            return model.with_tensors({}, branches=dict(model.branches) | joined)
        return model.with_tensors({n: merged(model.tensor(n), u, kept.get(n)) for n, u in updates.items()})

    def _takes(self, name: str) -> bool:
        return "all" in self.roles or role_of(name) in self.roles


def merged(w: FloatArray, update: LowRank, kept: Any) -> FloatArray:
    """W + B A, exactly zero where `kept` (bool [n, k], or None: everything) says so."""
    total = w + update.product()
    return total if kept is None else np.where(kept, total, np.float32(0))


STAGE = Lora
