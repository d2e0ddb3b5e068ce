"""The original model beside one in training: its last hidden states, from which head_loss.py makes distributions."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from edgec.compress.head_loss import Head
from edgec.compress.substituted import Substituted
from edgec.compress.torch_model import Matrix, TorchModel, load_torch
from edgec.frontend.checkpoint import Checkpoint


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

    def states(self, tokens: Tensor) -> list[Tensor]:
        """Hidden states [batch, tokens, hidden] after every block, before the norm; nothing is kept."""
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.fast):
            return Substituted({}).states(self.module, tokens)


def forward_blocks(module: TorchModel, tokens: Tensor) -> Tensor:
    """Hidden states after the last block, before the norm."""
    hidden = module.embed(tokens)
    for layer in range(module.config.n_layers):
        hidden = module.block(layer, hidden)
    return hidden


def halve(module: TorchModel, keep: Collection[str] = ()) -> None:
    """All matrices but those of `keep` in bfloat16: what autocast would make of them again in every pass."""
    for name, part in module.named_modules():
        if isinstance(part, Matrix) and f"{name}.weight" not in keep:
            part.weight.data = part.weight.data.bfloat16()
