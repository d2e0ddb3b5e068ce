"""The training behind the recover stage: a float teacher, a student that computes as the chip does."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from edgec.compress.chip_numerics import ChipActivations, group_sizes
from edgec.compress.rounding import LatentWeights
from edgec.compress.stage import Work
from edgec.compress.torch_model import TorchModel, load_torch
from edgec.frontend.checkpoint import Checkpoint

if TYPE_CHECKING:
    from edgec.compress.recover import Recover

ROWS = 512  # positions whose logits exist at once


class Distillation:
    """One run of training; `losses` has the loss per token of every step."""

    def __init__(self, options: Recover, model: Checkpoint, latents: dict[str, LatentWeights], work: Work) -> None:
        self.options, self.latents, self.work = options, latents, work
        self.teacher, self.student = load_torch(work.original()), load_torch(model)
        groups = {name: latent.tensor.group_size for name, latent in latents.items()}
        self.student.act = ChipActivations(group_sizes(model.structure, groups))
        self.data = torch.from_numpy(work.tokens(model, options.steps * options.batch, at_most=True))
        self.losses: list[float] = []
        self.fast = options.low_precision and _fast_bfloat16()

    def run(self) -> int:
        """Train until the steps or the time are over; the number of steps taken."""
        options, work = self.options, self.work
        factors = [factor for latent in self.latents.values() for factor in (latent.a, latent.b)]
        scales = [latent.log_scale for latent in self.latents.values()]
        rates = [options.rate, options.scale_rate]
        groups = [{"params": p, "lr": rate} for p, rate in zip((factors, scales), rates, strict=True)]
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0)
        first = self._resume(optimizer)
        began, spent = time.monotonic(), 0.0
        for step in range(first, options.steps):
            done = max(step / options.steps, spent)
            if done >= 1:
                return step
            work.say(f"distil, loss {self.losses[-1]:.4f}" if self.losses else "distil", step, options.steps)
            factor = min(1.0, (step + 1) / max(1.0, options.warmup * options.steps)) * (0.05 + 0.95 * _cosine(done))
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            self.losses.append(self._step(self.data[_draw(work.seed, step, options.batch, len(self.data))]))
            torch.nn.utils.clip_grad_norm_(factors, 1.0)
            torch.nn.utils.clip_grad_norm_(scales, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if work.deadline is not None:  # the schedule ends with the time, wherever the steps are by then
                elapsed = time.monotonic() - began
                spent = (elapsed + elapsed / (step - first + 1)) / max(elapsed + work.seconds_left(), 1e-9)
            if (step + 1) % options.save_every == 0:
                self._save(step + 1, optimizer)
        return options.steps

    def _step(self, batch: Tensor) -> float:
        """Gradients of one step into the latent weights; the loss per token."""
        total = 0.0
        count = batch.shape[0] * (batch.shape[1] - 1)
        rounded = {name: latent() for name, latent in self.latents.items()}
        # Leaves collect the gradients of all parts, so that rounding and its gradient are computed once a step.
        leaves = {name: w.detach().requires_grad_(True) for name, w in rounded.items()}
        applied = {user: leaf for name, leaf in leaves.items() for user in self.student.structure.users(name)}
        for part in batch.split(2):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.fast):
                with torch.no_grad():
                    wanted = _hidden(self.teacher, part, {})
                hidden = _hidden(self.student, part, applied)
                loss, gradient = self._loss(wanted, hidden, part, count)
            hidden.backward(gradient)
            total += loss
        torch.autograd.backward(list(rounded.values()), [leaf.grad for leaf in leaves.values()])
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

    def _save(self, step: int, optimizer: Any) -> None:
        if self.work.partial is None:
            return
        self.work.partial.mkdir(parents=True, exist_ok=True)
        trained = [(latent.a.data, latent.b.data, latent.log_scale.data) for latent in self.latents.values()]
        state = {"step": step, "losses": self.losses, "trained": trained, "optimizer": optimizer.state_dict()}
        part = self.work.partial / "state.part"
        torch.save(state, part)
        part.replace(self.work.partial / "state.pt")

    def _resume(self, optimizer: Any) -> int:
        file = None if self.work.partial is None else self.work.partial / "state.pt"
        if file is None or not file.is_file():
            return 0
        state = torch.load(file, weights_only=True)
        for latent, kept in zip(self.latents.values(), state["trained"], strict=True):
            for parameter, value in zip((latent.a, latent.b, latent.log_scale), kept, strict=True):
                parameter.data.copy_(value)
        optimizer.load_state_dict(state["optimizer"])
        self.losses = list(state["losses"])
        return int(state["step"])


def _hidden(model: TorchModel, tokens: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Hidden states after the last block, with `weights` in place of the model's matrices of those names."""
    hidden = model.embed(tokens)
    for layer, block in enumerate(model.blocks):
        prefix = f"model.layers.{layer}."
        given = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
        arguments = (hidden, model.rope(tokens.shape[1], layer), model.act)
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
