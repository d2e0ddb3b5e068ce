"""The training behind the recover stage: a float teacher, a student that computes as the chip does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from edgec.compress.chip_numerics import ChipActivations, group_sizes
from edgec.compress.rounding import LatentWeights
from edgec.compress.stage import Work
from edgec.compress.substituted import Substituted
from edgec.compress.teacher import forward_blocks
from edgec.compress.torch_model import load_torch
from edgec.compress.training import Group, Training, cosine, draw, fast_bfloat16
from edgec.frontend.checkpoint import Checkpoint

if TYPE_CHECKING:
    from edgec.compress.recover import Recover

ROWS = 512  # positions whose logits exist at once


class RecoverTraining:
    """One run of training."""

    def __init__(self, options: Recover, model: Checkpoint, latents: dict[str, LatentWeights], work: Work) -> None:
        self.options, self.latents, self.work = options, latents, work
        self.teacher, self.student = load_torch(work.original()), load_torch(model)
        groups = {name: latent.tensor.group_size for name, latent in latents.items()}
        self.student.act = ChipActivations(group_sizes(model.structure, groups))
        self.data = torch.from_numpy(work.tokens(model, options.steps * options.batch, at_most=True))
        self.fast = options.low_precision and fast_bfloat16()

    def run(self) -> Training:
        """Train until the steps or the time are over; the loop as it then is."""
        options = self.options
        factors: dict[str, Tensor] = {}
        scales: dict[str, Tensor] = {}
        for name, latent in self.latents.items():
            factors |= {f"{name}.a": latent.a, f"{name}.b": latent.b}
            scales[f"{name}.log_scale"] = latent.log_scale
        training = Training(
            "recover",
            [Group(factors, options.rate), Group(scales, options.scale_rate)],
            self.work,
            steps=options.steps,
            factor=self._factor,
            save_every=options.save_every,
            betas=(0.9, 0.95),
        )
        training.run(
            lambda step, done: self._step(self.data[draw((self.work.seed,), step, options.batch, len(self.data))])
        )
        return training

    def _factor(self, step: int, planned: float) -> float:
        """Share of the rates: a rise, then a cosine to a twentieth, as codes still flip at the end."""
        rise = min(1.0, (step + 1) / max(1.0, self.options.warmup * planned))
        return rise * (0.05 + 0.95 * cosine(step / planned))

    def _step(self, batch: Tensor) -> float:
        """Gradients of one step into the latent weights; the loss per token."""
        total = 0.0
        count = batch.shape[0] * (batch.shape[1] - 1)
        rounded = Substituted(self.latents)
        for part in batch.split(2):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.fast):
                with torch.no_grad():
                    wanted = forward_blocks(self.teacher, part)
                hidden = rounded.states(self.student, part)[-1]
                loss, gradient = self._loss(wanted, hidden, part, count)
            hidden.backward(gradient)
            total += loss
        rounded.backward()
        return total

    def _loss(self, wanted: Tensor, hidden: Tensor, tokens: Tensor, count: int) -> tuple[float, Tensor]:
        """Summed loss over `count` and its gradient at `hidden`, some positions at a time: logits are large."""
        gradient = torch.zeros_like(hidden)
        total = 0.0
        for row in range(len(tokens)):
            for start in range(0, tokens.shape[1] - 1, ROWS):
                stop = min(start + ROWS, tokens.shape[1] - 1)
                leaf = hidden[row : row + 1, start:stop].detach().requires_grad_(True)
                with torch.no_grad():
                    target = self.teacher.head(wanted[row : row + 1, start:stop]).float().log_softmax(-1)
                logits = self.student.head(leaf).float().log_softmax(-1)
                loss = (1 - self.options.text_loss) * (target.exp() * (target - logits)).sum()
                if self.options.text_loss:
                    picked = logits.gather(-1, tokens[row : row + 1, start + 1 : stop + 1, None])
                    loss = loss - self.options.text_loss * picked.sum()
                loss = loss / count
                loss.backward()
                gradient[row : row + 1, start:stop] = leaf.grad
                total += float(loss.detach())
        return total, gradient
