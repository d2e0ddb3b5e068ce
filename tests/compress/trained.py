"""What tests of stages that train share: a stage's work on a text, and whether two models are the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgec.compress.stage import Calibration, Work
from edgec.frontend.checkpoint import Checkpoint


def work_for(source: Checkpoint, text: Path, partial: Path | None = None, seed: int = 0) -> Work:
    return Work(lambda: source, Calibration(str(text), 8, 24), seed=seed, partial=partial)


def stored(model: Checkpoint) -> dict[str, np.ndarray[Any, Any]]:
    return {name: model.tensor(name) for name in model.stored_tensors()}


def same(a: Checkpoint, b: Checkpoint) -> bool:
    x, y = stored(a), stored(b)
    return x.keys() == y.keys() and all(np.array_equal(x[name], y[name]) for name in x)
