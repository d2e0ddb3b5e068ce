"""The recovery stage: quantisation-aware distillation of a packed model from the original, folded into its codes.

A latent float stands behind every code: the weight before quantisation, pulled into its code's cell, so that training
starts at exactly the packed model and codes near a boundary flip first. What is trained is a low-rank change of the
latent codes, and the scales (compress/rounding.py). Forward passes round the latent codes and the activations as the
chip does; the loss is the Kullback-Leibler divergence of the next-token distribution from the original model's,
optionally mixed with the text's own loss. Bytes stay the same: codes and scales are all that is left of it.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from edgec.compress.chip_numerics import ChipActivations
from edgec.compress.quantized import QuantizedTensor
from edgec.compress.rounding import LatentWeights
from edgec.compress.stage import Work
from edgec.compress.torch_model import TorchModel, load_torch
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, ModelConfig

ROWS = 512  # positions whose logits exist at once


@dataclass(frozen=True)
class Recover:
    """Length, step size and loss of the training; `--minutes` may end it earlier."""

    method: ClassVar[str] = "recover"
    steps: int = 240
    batch: int = 2  # windows of a step
    rank: int = 16  # of the change of each matrix's latent codes
    rate: float = 3e-4  # of AdamW on that change's factors
    scale_rate: float = 1e-4  # of AdamW on the logarithm of the scales
    warmup: float = 0.05  # share of the steps
    text_loss: float = 0.0  # share of the text's own cross-entropy in the loss; the rest is distillation
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
        names = [name for name in model.matrix_names() if name in model.packed]
        if not names:
            raise RecipeError("the recover stage trains packed matrices; put a quantize stage before it.")
        teacher, student = load_torch(work.original()), load_torch(model)
        packed = {name: model.packed[name]() for name in names}
        before = work.before_quantize
        latents = {}
        for name, tensor in packed.items():
            if tensor.zero is not None or tensor.minimum is not None:
                raise RecipeError("the recover stage trains symmetric grids; these codes have zero points or minima.")
            start = before.tensor(name) if before is not None and name in before else tensor.dequantized()
            seed = work.seed * len(names) + len(latents)
            latents[name] = LatentWeights(tensor, start, name in model.patterns, self.rank, seed)
        student.act = ChipActivations({name: tensor.group_size for name, tensor in packed.items()})
        used = self._train(teacher, student, latents, self._windows(model, work), work)
        work.notes |= {"steps": used, "changed_codes": _changed(latents, packed)}
        return model.with_packed({name: latent.packed() for name, latent in latents.items()})

    def _windows(self, model: Checkpoint, work: Work) -> Tensor:
        return torch.from_numpy(work.tokens(model, self.steps * self.batch, at_most=True))

    def _train(
        self, teacher: TorchModel, student: TorchModel, latents: dict[str, LatentWeights], data: Tensor, work: Work
    ) -> int:
        weights = [factor for latent in latents.values() for factor in (latent.a, latent.b)]
        scales = [latent.log_scale for latent in latents.values()]
        groups = [{"params": weights, "lr": self.rate}, {"params": scales, "lr": self.scale_rate}]
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0)
        rates = [self.rate, self.scale_rate]
        first, losses = self._resume(work, latents, optimizer)
        began, spent = time.monotonic(), 0.0
        for step in range(first, self.steps):
            done = max(step / self.steps, spent)
            if done >= 1:
                return step
            work.say(f"distil, loss {losses[-1]:.4f}" if losses else "distil", step, self.steps)
            factor = min(1.0, (step + 1) / max(1.0, self.warmup * self.steps)) * (0.05 + 0.95 * _cosine(done))
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            batch = data[_draw(work.seed, step, self.batch, len(data))]
            losses.append(self._step(teacher, student, latents, batch))
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            torch.nn.utils.clip_grad_norm_(scales, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if work.deadline is not None:  # the schedule ends with the time, wherever the steps are by then
                elapsed = time.monotonic() - began
                spent = (elapsed + elapsed / (step - first + 1)) / max(elapsed + work.seconds_left(), 1e-9)
            if (step + 1) % self.save_every == 0:
                self._save(work, step + 1, latents, optimizer, losses)
        work.notes["losses"] = [float(f"{loss:.4g}") for loss in losses[:: max(1, len(losses) // 20)]]
        return self.steps

    def _step(
        self, teacher: TorchModel, student: TorchModel, latents: dict[str, LatentWeights], batch: Tensor
    ) -> float:
        """Gradients of one step into the latent weights; the loss per token."""
        total = 0.0
        fast = self.low_precision and _fast_bfloat16()
        count = batch.shape[0] * (batch.shape[1] - 1)
        rounded = {name: latent() for name, latent in latents.items()}
        # Leaves collect the gradients of all parts, so that rounding and its gradient are computed once a step.
        leaves = {name: w.detach().requires_grad_(True) for name, w in rounded.items()}
        for part in batch.split(2):
            with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                with torch.no_grad():
                    wanted = _hidden(teacher, part, {})
                hidden = _hidden(student, part, leaves)
                loss, gradient = self._loss(teacher, student, wanted, hidden, part, count)
            hidden.backward(gradient)
            total += loss
        torch.autograd.backward(list(rounded.values()), [leaf.grad for leaf in leaves.values()])
        return total

    def _loss(
        self, teacher: TorchModel, student: TorchModel, wanted: Tensor, hidden: Tensor, tokens: Tensor, count: int
    ) -> tuple[float, Tensor]:
        """Summed loss over `count` and its gradient at `hidden`, some positions at a time: logits are large."""
        gradient = torch.zeros_like(hidden)
        total = 0.0
        for row in range(len(tokens)):
            for start in range(0, tokens.shape[1] - 1, ROWS):
                stop = min(start + ROWS, tokens.shape[1] - 1)
                leaf = hidden[row : row + 1, start:stop].detach().requires_grad_(True)
                with torch.no_grad():
                    target = teacher.head(wanted[row : row + 1, start:stop]).float().log_softmax(-1)
                logits = student.head(leaf).float().log_softmax(-1)
                loss = (1 - self.text_loss) * (target.exp() * (target - logits)).sum()
                if self.text_loss:
                    picked = logits.gather(-1, tokens[row : row + 1, start + 1 : stop + 1, None])
                    loss = loss - self.text_loss * picked.sum()
                loss = loss / count
                loss.backward()
                gradient[row : row + 1, start:stop] = leaf.grad
                total += float(loss.detach())
        return total, gradient

    def _save(
        self, work: Work, step: int, latents: dict[str, LatentWeights], optimizer: Any, losses: list[float]
    ) -> None:
        if work.partial is None:
            return
        work.partial.mkdir(parents=True, exist_ok=True)
        state = {
            "step": step,
            "losses": losses,
            "latents": [(latent.a.data, latent.b.data, latent.log_scale.data) for latent in latents.values()],
            "optimizer": optimizer.state_dict(),
        }
        part = work.partial / "state.part"
        torch.save(state, part)
        part.replace(work.partial / "state.pt")

    def _resume(self, work: Work, latents: dict[str, LatentWeights], optimizer: Any) -> tuple[int, list[float]]:
        file = None if work.partial is None else work.partial / "state.pt"
        if file is None or not file.is_file():
            return 0, []
        state = torch.load(file, weights_only=True)
        for latent, kept in zip(latents.values(), state["latents"], strict=True):
            for parameter, value in zip((latent.a, latent.b, latent.log_scale), kept, strict=True):
                parameter.data.copy_(value)
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"]), list(state["losses"])


def _hidden(model: TorchModel, tokens: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Hidden states after the last block, with `weights` in place of the model's matrices of those names."""
    hidden = model.embed(tokens)
    for layer, block in enumerate(model.blocks):
        prefix = f"model.layers.{layer}."
        given = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
        arguments = (hidden, model.rope(tokens.shape[1]), model.act)
        hidden = torch.func.functional_call(block, given, arguments) if given else block(*arguments)
    return hidden


def _draw(seed: int, step: int, batch: int, available: int) -> Tensor:
    """Windows of a step: a shuffled pass over all, then another; a function of seed and step alone."""
    picked = []
    for i in range(step * batch, (step + 1) * batch):
        order = np.random.default_rng([seed, i // available]).permutation(available)
        picked.append(order[i % available])
    return torch.from_numpy(np.asarray(picked))


def _cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def _fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (elsewhere it is slower than float32)."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _changed(latents: dict[str, LatentWeights], packed: dict[str, QuantizedTensor]) -> float:
    """Share of codes that training changed."""
    changed = total = 0
    for name, latent in latents.items():
        old = latent.codes_of(packed[name])
        changed += int((latent.codes() != old).sum())
        total += old.numel()
    return float(f"{changed / total:.4g}")


STAGE = Recover
