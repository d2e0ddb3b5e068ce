"""The training behind the abaco stage: alpha W_0 + B A in place of each matrix, in the loop of compress/training.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from edgec.compress.calibration import windows
from edgec.compress.lesson import Lesson
from edgec.compress.stage import Work
from edgec.compress.training import Group, Training, schedule
from edgec.frontend.checkpoint import Checkpoint, FloatArray, LowRank

if TYPE_CHECKING:
    from edgec.compress.abaco import Abaco


class FadingMatrix:
    """alpha W_0 + B A, of W_0 only what is not in B A to begin with. It is let go of as soon as alpha is 0."""

    def __init__(self, original: FloatArray, rank: int, options: Abaco, seed: list[int]) -> None:
        a, b = _factors(original, rank, options.init, seed)
        self.original: Tensor | None = torch.from_numpy(original - b @ a)
        self.alpha = options.start
        self.a = torch.from_numpy(a).requires_grad_(True)
        self.b = torch.from_numpy(b).requires_grad_(True)

    def fade(self, alpha: float) -> None:
        """Set alpha; what is 0 stays 0."""
        self.alpha = alpha
        if alpha == 0:
            self.original = None

    def __call__(self) -> Tensor:
        """The matrix [n, k] that the model runs with."""
        product = self.b @ self.a
        return product if self.original is None else torch.add(product, self.original, alpha=self.alpha)


def train(model: Checkpoint, ranks: dict[str, int], options: Abaco, work: Work) -> dict[str, LowRank]:
    """The trained factors by matrix."""
    data = torch.from_numpy(windows(model, work.calibration, options.samples, at_most=True))
    faded = {
        name: FadingMatrix(model.effective(name), rank, options, [work.seed, number])
        for number, (name, rank) in enumerate(ranks.items())
    }
    lesson = Lesson(model, faded, data, options, work, distill=options.distill)
    steps = options.planned(len(data))
    training = Training(
        "abaco",
        [
            Group(
                {f"{n}.{side}": getattr(w, side) for n, w in faded.items() for side in "ab"}, options.rate, options.clip
            )
        ],
        work,
        steps=steps,
        factor=lambda step, planned: schedule(step, planned, options.warmup),
        save_every=options.save_every,
        minutes=options.minutes,
        decay=options.decay,
    )

    def update(step: int, done: float) -> float:
        for weight in faded.values():
            weight.fade(options.alpha(done, steps))
        return lesson.gradients(step)

    training.run(update)
    alphas = [options.alpha(done, steps) for done in training.shares]
    work.notes |= {**training.notes(), "alphas": training.sampled(alphas), "settled": alphas.count(0.0)}
    return {n: LowRank(w.a.detach().numpy().copy(), w.b.detach().numpy().copy()) for n, w in faded.items()}


def _factors(w: FloatArray, rank: int, init: str, seed: list[int]) -> tuple[FloatArray, FloatArray]:
    """A [rank, k] and B [n, rank] before training."""
    n, k = w.shape
    if init == "random":
        draw = np.random.default_rng(seed)
        return (draw.standard_normal((rank, k)) * k**-0.5).astype(np.float32), np.zeros((n, rank), np.float32)
    u, s, v = np.linalg.svd(w.astype(np.float64), full_matrices=False)
    root = np.sqrt(s[:rank])
    return np.ascontiguousarray(root[:, None] * v[:rank], np.float32), np.ascontiguousarray(
        u[:, :rank] * root, np.float32
    )
