"""The training behind the lora stage: PEFT's layers in the torch model, in the loop of compress/training.py."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from edgec.compress.calibration import windows
from edgec.compress.head_loss import Head, next_token_loss
from edgec.compress.stage import Work
from edgec.compress.teacher import Teacher, forward_blocks, halve
from edgec.compress.torch_model import Matrix, TorchModel, load_torch
from edgec.compress.training import Group, Training, draw, fast_bfloat16, schedule
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
    fast = options.low_precision and fast_bfloat16()
    data = torch.from_numpy(windows(model, work.calibration, options.samples, at_most=True))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(work.seed)  # PEFT draws the first A from it
        student = adapted(model, names, kept, options)
        layers = {name: student.linear(name) for name in names}
        if fast:
            halve(student)
        teacher = Teacher(work.original(), fast) if options.distill else None
        LoraTraining(student, layers, data, teacher, options, work, fast).run()
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


class LoraTraining:
    """One run of updates."""

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

    def run(self) -> None:
        """Train from where an earlier run stopped."""
        options = self.options
        training = Training(
            "lora",
            [Group(self.parameters, options.rate, options.clip)],
            self.work,
            steps=options.planned(len(self.data)),
            factor=lambda step, planned: schedule(step, planned, options.warmup),
            save_every=options.save_every,
            minutes=options.minutes,
            decay=options.decay,
        )
        training.run(self._update)
        size = options.batch * options.accumulate * self.data.shape[1]
        self.work.notes |= {
            **training.notes(),
            "tokens": training.step * size,
            "trained_parameters": sum(p.numel() for p in self.parameters.values()),
        }

    def _update(self, step: int, done: float) -> float:
        """Gradients of one update; the mean loss of its tokens."""
        first, batch = step * self.options.accumulate, self.options.batch
        return sum(
            self._gradients(draw((self.work.seed, 0), first + i, batch, len(self.data)))
            for i in range(self.options.accumulate)
        )

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
