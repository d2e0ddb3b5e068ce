"""The loss of a model with one thing changed in one block, many times over the same text.

Hidden states before every block are computed once; a variant runs from its block on. Windows of `tokens` [samples,
length]; the loss is the mean of -ln p over all tokens but the first of each window.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from edgec.compress.block_scores import BATCH, summed_loss
from edgec.compress.stage import Tokens
from edgec.compress.torch_model import TorchModel, load_torch
from edgec.frontend.checkpoint import Checkpoint

PARTS = ("block", "attention", "mlp")


class Variants:
    """One model and text. Every method leaves the model as it was."""

    def __init__(self, model: Checkpoint, tokens: Tokens) -> None:
        self.module: TorchModel = load_torch(model)
        self.tokens = torch.from_numpy(tokens)
        self.before: list[Tensor] = []  # hidden states [samples, length, hidden] in front of every block
        with torch.no_grad():
            hidden = self.module.embed(self.tokens)
            for layer in range(self.module.config.n_layers):
                self.before.append(hidden)
                hidden = self._block(layer, hidden)
            self.dense = self._loss(hidden)

    def replaced(self, part: str, layer: int, other: int) -> float:
        """The loss with a part of block `other` in place of that of block `layer`."""
        with self._swapped(part, layer, other):
            return self._from(layer)

    def ablated(self, part: str, layer: int) -> float:
        """The loss without a part of block `layer`: nothing is added to the stream there."""
        if part == "block":
            return self._after(layer, self.before[layer])
        with self._silent(part, layer):
            return self._from(layer)

    def with_matrix(self, name: str, weight: Tensor) -> float:
        """The loss with another weight [n, k] of one matrix."""
        matrix = self.module.linear(name)
        kept = matrix.weight.data
        try:
            matrix.weight.data = weight
            return self._from(int(name.split(".")[2]))
        finally:
            matrix.weight.data = kept

    def _from(self, layer: int) -> float:
        with torch.no_grad():
            return self._after(layer, self._block(layer, self.before[layer]))

    def _after(self, layer: int, hidden: Tensor) -> float:
        with torch.no_grad():
            for later in range(layer + 1, self.module.config.n_layers):
                hidden = self._block(later, hidden)
            return self._loss(hidden)

    def _block(self, layer: int, hidden: Tensor) -> Tensor:
        return torch.cat([self.module.block(layer, part) for part in hidden.split(BATCH)])

    def _loss(self, hidden: Tensor) -> float:
        samples, length = self.tokens.shape
        total: float = summed_loss(self.module, hidden, self.tokens)
        return total / int(samples * (length - 1))

    @contextmanager
    def _swapped(self, part: str, layer: int, other: int) -> Iterator[None]:
        blocks = self.module.model.layers
        if part == "block":
            kept, blocks[layer] = blocks[layer], blocks[other]
            try:
                yield
            finally:
                blocks[layer] = kept
            return
        parents = [_holder(self.module, part, number) for number in (layer, other)]
        name = _attribute(part)
        module = getattr(parents[0], name)
        setattr(parents[0], name, getattr(parents[1], name))
        try:
            yield
        finally:
            setattr(parents[0], name, module)

    @contextmanager
    def _silent(self, part: str, layer: int) -> Iterator[None]:
        module = getattr(_holder(self.module, part, layer), _attribute(part))
        hook = module.register_forward_hook(lambda m, inputs, output: torch.zeros_like(output))
        try:
            yield
        finally:
            hook.remove()


def _holder(module: TorchModel, part: str, layer: int) -> torch.nn.Module:
    block = module.model.layers[layer]
    if part in PARTS:
        return block
    return block.self_attn if part in ("q", "k", "v", "o") else block.mlp


def _attribute(part: str) -> str:
    return {"attention": "self_attn", "mlp": "mlp"}.get(part, f"{part}_proj")
