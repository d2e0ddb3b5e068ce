"""What tests of stages that train share: a stage's work on a text, runs to kill, whether models are the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgec.compress.stage import Calibration, Work
from edgec.frontend.checkpoint import Checkpoint


def work_for(source: Checkpoint, text: Path, partial: Path | None = None, seed: int = 0) -> Work:
    return Work(lambda: source, Calibration(str(text), 8, 24), seed=seed, partial=partial)


class Runs:
    """Runs of a stage of 12 updates on a model, with `original` before the first stage; some are killed.

    seen: the updates done whenever a run said so.
    """

    def __init__(self, stage: Any, source: Checkpoint, text: Path, original: Checkpoint | None = None) -> None:
        self.stage, self.source, self.text, self.original = stage, source, text, original or source
        self.seen: list[int] = []

    def __call__(self, seed: int = 0, partial: Path | None = None, kill: int = -1) -> tuple[Checkpoint, Work]:
        """One run. kill: updates after which it is interrupted."""
        work = work_for(self.original, self.text, partial, seed)

        def say(message: str, done: int, total: int) -> None:
            assert total == 12
            self.seen.append(done)
            if done == kill:
                raise KeyboardInterrupt

        work.say = say
        return self.stage.run(self.source, work), work


def stored(model: Checkpoint) -> dict[str, np.ndarray[Any, Any]]:
    return {name: model.tensor(name) for name in model.stored_tensors()}


def same(a: Checkpoint, b: Checkpoint) -> bool:
    x, y = stored(a), stored(b)
    return x.keys() == y.keys() and all(np.array_equal(x[name], y[name]) for name in x)
