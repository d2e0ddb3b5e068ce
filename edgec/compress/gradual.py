"""Pruning that goes on while a model trains: little by little, what has been of least importance for a while goes.

    importance    I <- memory I + (1 - memory) |w dL/dw|        what the loss would change by without the weight
    share gone    1 - (1 - x)^3                                 x from 0 to 1 between `first` and `last` of the training

The cubic takes most while there is most to spare, and little at the end (Zhu and Gupta 2017, arXiv 1710.01878).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgec.compress.coupled import NEURON
from edgec.compress.trained_matrix import TrainedMatrix

GONE = -1.0  # below every importance


@dataclass(frozen=True)
class Pace:
    """When how much is gone."""

    first: float  # share of the training
    last: float
    every: int  # updates from one choice to the next
    memory: float  # of the moving average

    def share(self, done: float) -> float:
        """The share gone of what is to go."""
        x = min(1.0, max(0.0, (done - self.first) / (self.last - self.first)))
        return 1 - (1 - x) ** 3


class GradualPruning(ABC):
    """What is common to weights and neurons: importance by name, choices that only ever add to what has gone."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.importance: dict[str, Tensor] = {}

    @abstractmethod
    def measured(self, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The importance by name from one update's matrices and their gradients."""

    @abstractmethod
    def remove(self, share: float) -> None:
        """Have this share of what is to go be gone."""

    @abstractmethod
    def gone(self) -> dict[str, Tensor]:
        """What is gone, bool by name."""

    @abstractmethod
    def take_away(self, gone: Mapping[str, Tensor]) -> None:
        """Have these be gone."""

    def watch(self, leaves: Mapping[str, Tensor]) -> None:
        """Take an update's matrices and gradients into the importance."""
        memory = self.pace.memory
        for name, value in self.measured(leaves).items():
            before = self.importance.get(name)
            self.importance[name] = value if before is None else before.mul_(memory).add_(value, alpha=1 - memory)

    def update(self, step: int, done: float) -> None:
        """Before an update: remove what is due by now."""
        if self.importance and step % self.pace.every == 0:
            self.remove(self.pace.share(done))

    def finish(self) -> None:
        """After the last update: all that is to go has gone, also if time ran out before its turn."""
        self.remove(1.0)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """For a run that is resumed."""
        found: dict[str, NDArray[Any]] = {f"{n}.importance": v.numpy() for n, v in self.importance.items()}
        return found | {f"{n}.gone": np.packbits(v.numpy().reshape(-1)) for n, v in self.gone().items()}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """What an earlier run kept."""
        for key, array in arrays.items():
            if key.endswith(".importance"):
                self.importance[key.removesuffix(".importance")] = torch.from_numpy(array)
        shapes = {name: value.shape for name, value in self.gone().items()}
        self.take_away({n: _unpacked(arrays[f"{n}.gone"], tuple(shape)) for n, shape in shapes.items()})


class GradualWeights(GradualPruning):
    """`removed` of every `of` consecutive weights of a row, by matrix."""

    def __init__(
        self, weights: Mapping[str, TrainedMatrix], patterns: Mapping[str, tuple[int, int]], pace: Pace
    ) -> None:
        super().__init__(pace)
        self.weights, self.patterns = {name: weights[name] for name in patterns}, patterns
        for weight in self.weights.values():
            if weight.kept is None:
                weight.kept = torch.ones(weight.start.shape, dtype=torch.bool)

    def measured(self, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """|w dL/dw| of every weight."""
        return {name: (leaves[name].detach() * leaves[name].grad).abs_() for name in self.patterns}

    def remove(self, share: float) -> None:
        """In every row its share of the weights that may go, from wherever their importance is lowest."""
        for name, (removed, of) in self.patterns.items():
            kept = self.weights[name].kept
            assert kept is not None
            importance = self.importance.get(name)
            if importance is None:  # no update came to an end: what is smallest goes
                importance = self.weights[name]().detach().abs()
            self.weights[name].kept = kept & keep(importance.masked_fill(~kept, GONE), removed, of, share)

    def gone(self) -> dict[str, Tensor]:
        """By matrix [n, k]."""
        return {name: ~w.kept for name, w in self.weights.items() if w.kept is not None}

    def take_away(self, gone: Mapping[str, Tensor]) -> None:
        """By matrix [n, k]."""
        for name, each in gone.items():
            self.weights[name].kept = ~each


def keep(importance: Tensor, removed: int, of: int, share: float) -> Tensor:
    """True [n, k] but for a share of a pattern: of each window's `removed` least important weights, the row's least.

    At share 1 these are all of them. Among equal ones the one further left goes first.
    """
    n, k = importance.shape
    windows = importance.view(n, k // of, of)
    lowest = windows.argsort(dim=2, stable=True)[..., :removed]
    may_go = torch.zeros(windows.shape, dtype=torch.bool).scatter_(2, lowest, True).view(n, k)
    count = int(share * removed * (k // of))
    first = importance.masked_fill(~may_go, float("inf")).argsort(dim=1, stable=True)[:, :count]
    return torch.ones(n, k, dtype=torch.bool).scatter_(1, first, False)


class GradualNeurons(GradualPruning):
    """So many feed-forward neurons of every block; `alive` is bool [ffn_dim] by block."""

    def __init__(self, weights: Mapping[str, TrainedMatrix], n_layers: int, removed: int, pace: Pace) -> None:
        super().__init__(pace)
        self.removed = removed
        self.weights = {
            str(layer): {
                role: weights[name]
                for role in NEURON
                if (name := f"model.layers.{layer}.mlp.{role}_proj.weight") in weights  # not all have a gate
            }
            for layer in range(n_layers)
        }
        self.own = {layer: {role: w.kept for role, w in each.items()} for layer, each in self.weights.items()}
        self.alive = {
            layer: torch.ones(len(each["up"].start), dtype=torch.bool) for layer, each in self.weights.items()
        }

    def measured(self, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sum of |w dL/dw| over all weights of a neuron: its rows of gate and up, its column of down."""
        found = {}
        for layer in self.weights:
            parts = [
                (leaf.detach() * leaf.grad).abs_().sum(1 - axis)
                for role, axis in NEURON.items()
                if role in self.weights[layer]
                for leaf in [leaves[f"model.layers.{layer}.mlp.{role}_proj.weight"]]
            ]
            found[layer] = torch.stack(parts).sum(0)
        return found

    def remove(self, share: float) -> None:
        """In every block its share of the neurons that are to go."""
        found = {}
        for layer, alive in self.alive.items():
            importance = self.importance.get(layer)
            if importance is None:  # no update came to an end: what is smallest goes
                importance = self.weights[layer]["down"]().detach().abs().sum(0)
            order = importance.masked_fill(~alive, GONE).argsort(stable=True)
            found[layer] = ~alive.clone().index_fill_(0, order[: int(share * self.removed)], False)
        self.take_away(found)

    def gone(self) -> dict[str, Tensor]:
        """By block [ffn_dim]."""
        return {layer: ~alive for layer, alive in self.alive.items()}

    def take_away(self, gone: Mapping[str, Tensor]) -> None:
        """By block [ffn_dim]."""
        for layer, each in gone.items():
            self.alive[layer] = ~each
            for role, weight in self.weights[layer].items():
                axis, own = NEURON[role], self.own[layer][role]
                spread = self.alive[layer].unsqueeze(1 - axis).expand(weight.start.shape)
                weight.kept = spread if own is None else spread & own


def _unpacked(bits: NDArray[np.uint8], shape: tuple[int, ...]) -> Tensor:
    count = int(np.prod(shape))
    return torch.from_numpy(np.unpackbits(bits, count=count).astype(np.bool_).reshape(shape))
