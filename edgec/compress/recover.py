"""The recovery stage: quantisation-aware distillation of a packed model from the original, folded into its codes.

A latent float stands behind every code: the weight before quantisation, pulled into its code's cell, so that training
starts at exactly the packed model and codes near a boundary flip first. What is trained is a low-rank change of the
latent codes, and the scales (compress/rounding.py). Forward passes round the latent codes and the activations as the
chip does; the loss is the Kullback-Leibler divergence of the next-token distribution from the original model's,
optionally mixed with the text's own loss. Bytes stay the same: codes and scales are all that is left of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgec.compress.stage import Work
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.model_config import ModelConfig


@dataclass(frozen=True)
class Recover:
    """Length, step size and loss of the training; `--minutes` may end it earlier."""

    method: ClassVar[str] = "recover"
    steps: int = 160
    batch: int = 2  # windows of a step
    rank: int = 16  # of the change of each matrix's latent codes
    rate: float = 1e-3  # of AdamW on that change's factors
    scale_rate: float = 1e-4  # of AdamW on the logarithm of the scales
    warmup: float = 0.05  # share of the steps
    text_loss: float = 0.5  # share of the text's own cross-entropy in the loss; the rest is distillation
    low_precision: bool = True  # forward and backward products in bfloat16 where the processor multiplies it fast
    save_every: int = 40  # steps between resumable states

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.save_every, self.rank) < 1:
            raise RecipeError("recover.steps, batch, save_every and rank are at least 1.")
        if self.rate < 0 or self.scale_rate < 0 or not 0 <= self.warmup < 1 or not 0 <= self.text_loss <= 1:
            raise RecipeError("recover.rate and recover.scale_rate are at least 0, warmup and text_loss shares.")

    def shape(self, config: ModelConfig) -> ModelConfig:
        """Unchanged."""
        return config

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The model with better codes and scales. Raises RecipeError if nothing is packed."""
        names = [name for name in model.stored_matrices() if name in model.packed]
        if not names:
            raise RecipeError("the recover stage trains packed matrices; put a quantize stage before it.")
        packed = {name: model.packed[name]() for name in names}
        if any(tensor.zero is not None or tensor.minimum is not None for tensor in packed.values()):
            raise RecipeError("the recover stage trains symmetric grids; these codes have zero points or minima.")
        from edgec.compress.recover_training import RecoverTraining
        from edgec.compress.rounding import LatentWeights

        before = work.before_quantize
        latents: dict[str, LatentWeights] = {}
        for name, tensor in packed.items():
            start = before.tensor(name) if before is not None and name in before else tensor.dequantized()
            seed = work.seed * len(names) + len(latents)
            latents[name] = LatentWeights(tensor, start, name in model.patterns, self.rank, seed)
        training = RecoverTraining(self, model, latents, work).run()
        work.notes |= {"steps": training.step, "losses": training.sampled(training.losses)}
        made = {name: latent.packed() for name, latent in latents.items()}
        changed = sum(int((latents[n].codes() != latents[n].codes_of(packed[n])).sum()) for n in names)
        weights = sum(len(tensor.packed) * tensor.k for tensor in packed.values())
        work.notes["changed_codes"] = float(f"{changed / weights:.4g}")
        return model.with_packed(made)


STAGE = Recover
