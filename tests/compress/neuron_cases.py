"""Models whose neurons and heads are removed, and what removing must equal."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from edgec.compress.coupled import matrix
from edgec.compress.smooth_keys import SmoothKeys
from edgec.compress.stage import Work
from edgec.frontend.checkpoint import Checkpoint, LowRank
from tests.tiny_models import checkpoint, config

torch = pytest.importorskip("torch", reason="torch runs the calibration text")

from edgec.compress.torch_model import load_torch  # noqa: E402

TOKENS = np.random.default_rng(5).integers(0, 97, (3, 20))


@cache
def with_branches() -> Checkpoint:
    """Three groups of two heads, 52 neurons, biases and key centres, a branch beside every matrix of block 1."""
    model = checkpoint(config(n_layers=4, family="qwen2", n_heads=6, n_kv_heads=3), biases=True)
    rng = np.random.default_rng(1)
    branches = {}
    for name in [n for n in model.matrix_names() if n.startswith("model.layers.1.")]:
        n, k = model.config.tensor_shapes()[name]
        branches[name] = LowRank(*(0.2 * rng.standard_normal(s).astype(np.float32) for s in ((3, k), (n, 3))))
    return SmoothKeys(power=0).run(replace(model, branches=branches), work_of(model, TOKENS))


@cache
def with_products() -> Checkpoint:
    """The same with products in block 2, but for gate and o."""
    source = with_branches()
    rng = np.random.default_rng(2)
    products = {}
    for role in ("q", "k", "v", "up", "down"):
        n, k = source.config.tensor_shapes()[matrix(2, role)]
        products[matrix(2, role)] = LowRank(
            *(0.4 * rng.standard_normal(s).astype(np.float32) for s in ((5, k), (n, 5)))
        )
    return source.with_factors(products)


def work_of(model: Checkpoint, tokens: np.ndarray) -> Work:
    """A stage's work on these tokens, whatever it asks for."""
    work = Work(lambda: model)
    work.tokens = lambda m, samples=None, length=None, at_most=False: tokens  # type: ignore[method-assign]
    return work


def logits(model: Checkpoint, tokens: np.ndarray = TOKENS) -> torch.Tensor:
    with torch.no_grad():
        return load_torch(model)(torch.from_numpy(tokens))


def loss(model: Checkpoint, tokens: np.ndarray = TOKENS) -> float:
    predicted = logits(model, tokens)[:, :-1].flatten(0, 1)
    return float(torch.nn.functional.cross_entropy(predicted, torch.from_numpy(tokens)[:, 1:].flatten()))


def zeroed(model: Checkpoint, gone: dict[str, np.ndarray]) -> Checkpoint:
    """The model with columns of these matrices zero, in their branches too: what goes has no effect any more."""
    tensors, branches = {}, dict(model.branches)
    for matrix_name, columns in gone.items():
        name = model.structure.parts(matrix_name)[0]
        tensors[name] = model.tensor(name).copy()
        tensors[name][:, columns] = 0
        if name in branches:
            a = branches[name].a.copy()
            a[:, columns] = 0
            branches[name] = LowRank(a, branches[name].b)
    return model.with_tensors(tensors, branches=branches)
