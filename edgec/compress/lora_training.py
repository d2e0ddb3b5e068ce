"""The training behind the lora stage: PEFT's layers in the torch model, AdamW, a resumable loop.

Everything random is a function of the seed and the update's number (order of windows, dropout), so that a run which
was killed and resumed gives the bytes of one that was not. Only a time limit that binds makes results depend on the
machine.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from edgec.compress.calibration import windows
from edgec.compress.head_loss import Head, next_token_loss
from edgec.compress.stage import Work
from edgec.compress.torch_model import Matrix, TorchModel, load_torch
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, LowRank

if TYPE_CHECKING:
    from edgec.compress.lora import Lora

logging.disable(logging.WARNING)  # importing PEFT imports what warns about itself
from peft import LoraConfig, inject_adapter_in_model  # noqa: E402
from peft.tuners.lora.layer import Linear  # noqa: E402

logging.disable(logging.NOTSET)

ADAPTER = "default"


class MaskedLora(Linear):
    """PEFT's layer, its update masked where the matrix under it is pruned: y = W x + (mask * B A) x * scaling."""

    kept: Tensor | None = None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """PEFT's own unless there is a mask."""
        if self.kept is None:
            return super().forward(x, *args, **kwargs)
        a, b = self.lora_A[ADAPTER].weight, self.lora_B[ADAPTER].weight
        update = (b @ a) * self.kept * self.scaling[ADAPTER]
        return self.base_layer(x) + F.linear(self.lora_dropout[ADAPTER](x), update)


def train(model: Checkpoint, names: list[str], kept: dict[str, Any], options: Lora, work: Work) -> dict[str, LowRank]:
    """Trained updates by matrix, alpha / r folded into b. `kept` are masks [n, k] of pruned matrices."""
    fast = options.low_precision and _fast_bfloat16()
    data = torch.from_numpy(windows(model, work.calibration, options.samples, at_most=True))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(work.seed)  # PEFT draws the first A from it
        student = adapted(model, names, kept, options)
        layers = {name: student.linear(name) for name in names}
        if fast:
            halve(student)
        teacher = Teacher(work.original(), fast) if options.distill else None
        Training(student, layers, data, teacher, options, work, fast).run()
    scaling = options.alpha / options.rank
    return {
        name: LowRank(
            layer.lora_A[ADAPTER].weight.detach().numpy().copy(),
            (layer.lora_B[ADAPTER].weight.detach() * scaling).numpy().copy(),
        )
        for name, layer in layers.items()
    }


def adapted(model: Checkpoint, names: list[str], kept: dict[str, Any], options: Lora) -> TorchModel:
    """The torch model with PEFT's layers in place of the matrices `names`; only the updates have gradients."""
    module = load_torch(model)
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=[name.removesuffix(".weight") for name in names],
    )
    config._register_custom_module({Matrix: MaskedLora})
    inject_adapter_in_model(config, module, ADAPTER)
    for name in names:
        layer = module.linear(name)
        layer.cast_input_dtype_enabled = False
        layer.kept = torch.from_numpy(np.asarray(kept[name], np.float32)) if name in kept else None
    return module.train()


def halve(module: TorchModel) -> None:
    """The blocks' frozen matrices in bfloat16: what autocast would make of them again in every pass."""
    for part in module.modules():
        if isinstance(part, Matrix):
            part.weight.data = part.weight.data.bfloat16()


class Teacher:
    """The original model's normed hidden states, kept for every window that was asked for: smaller than logits."""

    def __init__(self, model: Checkpoint, fast: bool) -> None:
        self.module = load_torch(model)
        self.fast = fast
        self.head = Head.of(self.module, torch.bfloat16 if fast else torch.float32)
        if fast:
            halve(self.module)
        self._kept: dict[int, Tensor] = {}

    def hidden(self, data: Tensor, picked: list[int]) -> Tensor:
        """[windows, length, hidden] in float16; each window is computed alone, so that its bits depend on nothing."""
        for i in picked:
            if i not in self._kept:
                with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.fast):
                    states = forward_blocks(self.module, data[i : i + 1])
                    self._kept[i] = self.module.model.norm(states.float())[0].half()
        return torch.stack([self._kept[i] for i in picked]).float()


def forward_blocks(module: TorchModel, tokens: Tensor) -> Tensor:
    """Hidden states after the last block, before the norm."""
    hidden = module.embed(tokens)
    for layer in range(module.config.n_layers):
        hidden = module.block(layer, hidden)
    return hidden


class Training:
    """One run of updates; its state is in `parameters`, the optimizer and three numbers."""

    def __init__(
        self,
        student: TorchModel,
        layers: dict[str, Any],
        data: Tensor,
        teacher: Teacher | None,
        options: Lora,
        work: Work,
        fast: bool,
    ) -> None:
        self.student, self.data, self.teacher, self.options, self.work = student, data, teacher, options, work
        self.head = Head.of(student, torch.bfloat16 if fast else torch.float32)
        self.fast = fast
        self.parameters = {
            f"{name}.{side}": getattr(layer, f"lora_{side}")[ADAPTER].weight
            for name, layer in layers.items()
            for side in "AB"
        }
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=options.rate, weight_decay=options.decay)
        per_update = options.batch * options.accumulate
        self.planned = options.steps or max(1, math.ceil(options.epochs * len(data) / per_update))
        self.step, self.spent = 0, 0.0  # updates done, seconds that they took
        self.losses: list[float] = []

    def run(self) -> None:
        """Train from where an earlier run stopped."""
        self._resume()
        began, before = time.monotonic(), self.spent
        durations: list[float] = []
        while self.step < self.planned:
            self._report()
            start = time.monotonic()
            self.losses.append(self._update())
            self.step += 1
            durations.append(time.monotonic() - start)
            self.spent = before + time.monotonic() - began
            self._shorten(durations)
            if self.step % self.options.save_every == 0 and self.step < self.planned:
                self._save()
        size = self.options.batch * self.options.accumulate * self.data.shape[1]
        self.work.notes |= {
            "updates": self.step,
            "tokens": self.step * size,
            "trained_parameters": sum(p.numel() for p in self.parameters.values()),
            "losses": [float(f"{loss:.4g}") for loss in self.losses[:: max(1, len(self.losses) // 20)]],
        }

    def _report(self) -> None:
        recent = self.losses[-10:]
        said = f"train, loss {sum(recent) / len(recent):.3f}" if recent else "train"
        self.work.say(said, self.step, self.planned)

    def _update(self) -> float:
        """One update; the mean loss of its tokens."""
        options = self.options
        rate = options.rate * schedule(self.step, self.planned, options.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(int(np.random.default_rng([self.work.seed, 1, self.step]).integers(2**62)))
        loss = 0.0
        for i in range(options.accumulate):
            number = self.step * options.accumulate + i
            loss += self._gradients(draw(self.work.seed, number, options.batch, len(self.data)))
        if not math.isfinite(loss):
            raise RecipeError(f"the lora stage diverged at update {self.step + 1}; lower its rate of {options.rate}.")
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), options.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss

    def _gradients(self, picked: list[int]) -> float:
        """Adds the gradients of one forward pass; its share of the update's loss."""
        options, tokens = self.options, self.data[picked]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.fast):
            hidden = forward_blocks(self.student, tokens)
        teacher = None if self.teacher is None else (self.teacher.head, self.teacher.hidden(self.data, picked))
        loss, gradient = next_token_loss(
            self.head, hidden.detach(), tokens, teacher, options.distill, options.temperature
        )
        hidden.backward(gradient / options.accumulate)
        return loss / options.accumulate

    def _shorten(self, durations: list[float]) -> None:
        """Plan fewer updates if those planned would outlast the time limit; the cosine then ends with them."""
        left = self.work.seconds_left()
        if self.options.minutes:
            left = min(left, 60 * self.options.minutes - self.spent)
        if math.isinf(left):
            return
        recent = durations[1:][-20:] or durations  # the first update also warms caches up
        possible = self.step + max(0, int(left / (sum(recent) / len(recent))))
        self.planned = max(self.step, min(self.planned, possible))

    def _save(self) -> None:
        arrays: dict[str, Any] = {
            "numbers": np.array([self.step, self.planned, self.spent]),
            "losses": np.array(self.losses),
        }
        for name, parameter in self.parameters.items():
            state = self.optimizer.state[parameter]
            arrays |= {f"{name}.value": parameter.detach().numpy()}
            arrays |= {f"{name}.{key}": state[key].numpy() for key in ("exp_avg", "exp_avg_sq", "step")}
        self.work.save("training", arrays)

    def _resume(self) -> None:
        arrays = self.work.load("training")
        if arrays is None:
            return
        step, planned, self.spent = arrays["numbers"].tolist()
        self.step, self.planned = int(step), int(planned)
        self.losses = arrays["losses"].tolist()
        for name, parameter in self.parameters.items():
            parameter.data.copy_(torch.from_numpy(arrays[f"{name}.value"]))
            self.optimizer.state[parameter] = {
                key: torch.from_numpy(arrays[f"{name}.{key}"]) for key in ("exp_avg", "exp_avg_sq", "step")
            }


def schedule(step: int, planned: int, warmup: float) -> float:
    """Share of the full rate at an update: a linear rise, then a cosine to (nearly) 0 at the last one."""
    rise = warmup * planned
    if step < rise:
        return (step + 1) / (math.floor(rise) + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, planned - rise)))


def draw(seed: int, number: int, batch: int, available: int) -> list[int]:
    """Windows of forward pass `number`: a shuffled pass over all of them, then another one."""
    picked = []
    for i in range(number * batch, (number + 1) * batch):
        order = np.random.default_rng([seed, 0, i // available]).permutation(available)
        picked.append(int(order[i % available]))
    return picked


def _fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (elsewhere it is slower than float32)."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
