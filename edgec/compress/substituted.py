"""A torch model run with matrices that are functions of what is trained: rounded, blended, masked, changed.

Such a matrix is computed once a step. All forward passes of the step share it as a leaf that collects their gradients;
one backward pass at the end takes these on to what is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from edgec.compress.torch_model import TorchModel


class Trained(Protocol):
    """A matrix as a function of parameters."""

    def __call__(self) -> Tensor:
        """The matrix as it is now, with gradients to the parameters."""
        ...


class Substituted:
    """The matrices of one step in place of a model's own: `weights` by stored name, for all places that share one.

    `leaves` are what passes see.
    """

    def __init__(self, weights: Mapping[str, Trained]) -> None:
        self._made = {name: weight() for name, weight in weights.items()}
        self.leaves = {
            name: w if w.is_leaf and w.requires_grad else w.detach().requires_grad_(True)
            for name, w in self._made.items()
        }

    def states(self, model: TorchModel, tokens: Tensor) -> list[Tensor]:
        """Hidden states [batch, tokens, hidden] after every block."""
        applied = {user: leaf for name, leaf in self.leaves.items() for user in model.structure.users(name)}
        hidden, found = model.embed(tokens), []
        for layer, block in enumerate(model.blocks):
            prefix = f"model.layers.{layer}."
            given = {n.removeprefix(prefix): w for n, w in applied.items() if n.startswith(prefix)}
            arguments = (hidden, model.rope(tokens.shape[1], layer), model.act)
            hidden = torch.func.functional_call(block, given, arguments) if given else block(*arguments)
            found.append(hidden)
        return found

    def backward(self) -> None:
        """Take the gradients that the leaves have collected on to the parameters."""
        for made, leaf in zip(self._made.values(), self.leaves.values(), strict=True):
            if made is not leaf and made.requires_grad and leaf.grad is not None:
                made.backward(leaf.grad)
