"""A float matrix in training: as it is or by a low-rank change, and always exactly zero where it is pruned."""

from __future__ import annotations

import torch
from torch import Tensor

from edgec.frontend.checkpoint import FloatArray


class TrainedMatrix:
    """W, or W + B A of which only A and B train; zero where `kept` (bool [n, k], or None: nowhere) is False.

    B begins at zero. Gradients of what is pruned are zero, so that it stays where it is below its mask.
    """

    def __init__(self, start: FloatArray, kept: Tensor | None, rank: int, seed: int) -> None:
        self.start = torch.from_numpy(start.copy())
        self.kept = kept
        self.a: Tensor | None = None
        self.b: Tensor | None = None
        if rank:
            n, k = start.shape
            draw = torch.Generator().manual_seed(seed)
            self.a = (torch.randn(min(rank, n, k), k, generator=draw) * k**-0.5).requires_grad_(True)
            self.b = torch.zeros(n, min(rank, n, k), requires_grad=True)
        else:
            self.start.requires_grad_(True)

    def __call__(self) -> Tensor:
        """The matrix [n, k] that the model runs with."""
        w = self.start if self.a is None or self.b is None else self.start + self.b @ self.a
        return w if self.kept is None else torch.where(self.kept, w, 0.0)

    def parameters(self) -> dict[str, Tensor]:
        """What trains."""
        return {"w": self.start} if self.a is None or self.b is None else {"a": self.a, "b": self.b}
