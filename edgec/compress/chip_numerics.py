"""The chip's rounding of activations in torch, for stages that must see it: int8 per token and group, int8 KV cache.

A model of the reference close enough to choose weights by (probabilities and the softmax stay float); numbers in
reports come from the reference itself. Gradients pass straight through the rounding.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from edgec.compress.torch_model import Activations
from edgec.frontend.structure import Structure


def fake_int8(x: Tensor, group_size: int) -> Tensor:
    """x on the int8 grid of its token and group: scale = absmax / 127, ties to even. Straight-through gradient."""
    k = x.shape[-1]
    size = min(group_size, k) or k
    padded = torch.nn.functional.pad(x.detach(), (0, -k % size))
    grouped = padded.unflatten(-1, (-1, size))
    scale = grouped.abs().amax(-1, keepdim=True) / 127
    rounded = (grouped / scale.clamp_min(1e-30)).round_().mul_(scale).flatten(-2)[..., :k]
    return x + (rounded - x.detach()) if x.requires_grad else rounded


def group_sizes(structure: Structure, stored: Mapping[str, int]) -> dict[str, int]:
    """Group sizes by stored matrix as those of everything that stands for one too."""
    return {user: size for name, size in stored.items() for user in structure.users(name)}


class ChipActivations(Activations):
    """int8 inputs of every matrix in the groups that its weights use, int8 queries and cache per token and head.

    groups: by name of a matrix that is applied, see `group_sizes`.
    """

    def __init__(self, groups: Mapping[str, int], default: int = 0, heads: bool = True) -> None:
        self.groups, self.default, self.with_heads = dict(groups), default, heads
        self._last: tuple[Tensor, int, Tensor] | None = None

    def into_matrix(self, x: Tensor, name: str) -> Tensor:
        """Rounded inputs; matrices that share an input and a group size share the rounding."""
        size = self.groups.get(name, self.default)
        if self._last is not None and self._last[0] is x and self._last[1] == size:
            return self._last[2]
        rounded = fake_int8(x, size or x.shape[-1])
        self._last = (x, size, rounded) if not torch.is_grad_enabled() else None
        return rounded

    def heads(self, x: Tensor, role: str) -> Tensor:
        """Queries, keys and values on the int8 grid of their token and head."""
        return fake_int8(x, x.shape[-1]) if self.with_heads else x
