"""What the tests of distillation share: quick options, a pruned model, and how far it is from the original."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgec.frontend.checkpoint import Checkpoint

torch = pytest.importorskip("torch", reason="torch trains")

from edgec.compress.torch_model import TorchModel, load_torch  # noqa: E402

FAST: dict[str, Any] = {"samples": 8, "steps": 12, "rate": 3e-3, "save_every": 4, "prune_every": 2}

Q, UP, DOWN = (f"model.layers.0.{name}_proj.weight" for name in ("self_attn.q", "mlp.up", "mlp.down"))

EVERYTHING = ("q", "k", "v", "o", "gate", "up", "down", "norm", "embed", "head")


def pruned(source: Checkpoint) -> Checkpoint:
    """q and down of every block without every other weight."""
    tensors, patterns = {}, {}
    for name in source.matrix_names():
        if "q_proj" in name or "down_proj" in name:
            tensors[name] = source.tensor(name).copy()
            tensors[name][:, ::2] = 0
            patterns[name] = (1, 2)
    return source.with_tensors(tensors, patterns=patterns)


def distance(model: Checkpoint, original: Checkpoint, tokens: np.ndarray[Any, Any]) -> float:
    """Mean KL of next-token distributions from the original's."""
    with torch.no_grad():
        p, q = (load_torch(m)(torch.from_numpy(tokens)).log_softmax(-1) for m in (model, original))
    return float((q.exp() * (q - p)).sum(-1).mean())


def states(model: TorchModel, tokens: Any) -> list[Any]:
    found = [model.embed(tokens)]
    for layer in range(model.config.n_layers):
        found.append(model.block(layer, found[-1]))
    return found[1:]
