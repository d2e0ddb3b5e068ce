"""LoRA (Hu et al. 2021, arXiv 2106.09685) through PEFT: low-rank updates trained on text, merged or left as branches.

A pruned model gets its quality back here. Merged updates respect pruning: what was exactly zero in a matrix with a
pattern stays zero, and training sees the matrix as it will be merged, W + mask * (B A * alpha / r). Left unmerged
(`merge = false`), the update is a branch of its own that the emitted program runs (edgec/lower/builder.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgec.compress.eora import joined_branch
from edgec.compress.masks import mask
from edgec.compress.stage import Work
from edgec.compress.training_options import TrainingOptions, takes
from edgec.errors import RecipeError, ToolError
from edgec.frontend.checkpoint import Checkpoint, FloatArray, LowRank
from edgec.frontend.model_config import ModelConfig


@dataclass(frozen=True)
class Lora(TrainingOptions):
    """What is trained, and how; see compress/training_options.py for how much and how fast."""

    method: ClassVar[str] = "lora"
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.1
    roles: tuple[str, ...] = ("q", "k", "v", "o")  # or ["all"]
    merge: bool = True
    distill: float = 0.0  # share of the loss that is the distance from the original model's distribution

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_roles(self.roles)
        if self.rank < 1 or self.alpha <= 0:
            raise RecipeError(f"lora.rank {self.rank} is at least 1, and alpha {self.alpha} above 0.")
        if not 0 <= self.dropout < 1:
            raise RecipeError(f"lora.dropout is {self.dropout}; it is at least 0 and below 1.")
        if not 0 <= self.distill <= 1:
            raise RecipeError(f"lora.distill is {self.distill}; it is a share from 0 to 1.")

    def shape(self, config: ModelConfig) -> ModelConfig:
        """Unchanged."""
        return config

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The trained model, its patterns kept.

        Raises RecipeError for packed matrices that an update cannot be merged into, and if training diverges.
        """
        names = [name for name in model.stored_matrices() if takes(self.roles, name)]
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


def merged(w: FloatArray, update: LowRank, kept: Any) -> FloatArray:
    """W + B A, exactly zero where `kept` (bool [n, k], or None: everything) says so."""
    total = w + update.product()
    return total if kept is None else np.where(kept, total, np.float32(0))


STAGE = Lora
