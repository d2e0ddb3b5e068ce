"""What a whole model sees and what its loss says, by hooks and autograd: what block-wise code must match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgec.compress.stage import Calibration, Work
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.structure import factor_names


def work_for(model: Checkpoint, calibration: Calibration | None = None, partial: Path | None = None) -> Work:
    """What a stage gets besides the model."""
    return Work(lambda: model, calibration or Calibration(), partial=partial)


def product(model: Checkpoint, name: str) -> np.ndarray:
    """B A of a matrix, float64."""
    a, b = (model.tensor(part) for part in factor_names(name))
    return b.astype(np.float64) @ a


def inputs_of(model: Checkpoint, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs [windows, length, k] of every matrix when the whole model runs."""
    import torch

    from edgec.compress.torch_model import load_torch

    module, found = load_torch(model), {}
    for name, matrix in module.matrices():
        matrix.register_forward_hook(lambda m, x, y, name=name: found.update({name: x[0].double().numpy()}))
    with torch.no_grad():
        module(torch.from_numpy(tokens))
    return found


def gradients_of(model: Checkpoint, tokens: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """By autograd on the whole model: dL/dW of each window [windows, n, k], L its mean loss, and dL/dy of the summed
    loss at the outputs [windows, length, n]."""
    import torch

    from edgec.compress.torch_model import load_torch

    module = load_torch(model)
    weight = module.linear(name).weight.requires_grad_(True)
    kept: list[Any] = []
    module.linear(name).register_forward_hook(lambda m, x, y: (y.retain_grad(), kept.append(y))[0])
    weights, outputs = [], []
    for window in torch.from_numpy(tokens).split(1):
        logits = module(window)[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum")
        weight.grad = None
        loss.backward()
        weights.append(weight.grad.double().numpy() / (window.shape[1] - 1))
        outputs.append(kept[-1].grad[0].double().numpy())
    return np.stack(weights), np.stack(outputs)
