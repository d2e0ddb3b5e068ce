"""The form in which other frameworks can hold a model that no family of theirs has: the same function, with idle parts.

a block without attention     attention with matrices of zeros: it adds exactly nothing
heads that do not divide      groups of heads with matrices of zeros behind the others, up to the next number of
hidden_dim                    heads that does: transformers refuses the rest for the family llama
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from edgec.frontend.checkpoint import Checkpoint, FloatArray
from edgec.frontend.model_config import ModelConfig


def standard_config(config: ModelConfig) -> ModelConfig:
    """The configuration with idle parts counted."""
    per_group = config.n_heads // config.n_kv_heads
    groups = config.n_kv_heads
    if config.learned_positions:  # whose frameworks derive a head's size from the number of heads
        groups = config.hidden_dim // config.head_dim
    if config.family == "llama" and config.hidden_dim % per_group == 0:
        while config.hidden_dim % (per_group * groups):
            groups += 1
    return replace(config, n_heads=per_group * groups, n_kv_heads=groups, without_attention=())


def standard_tensors(model: Checkpoint) -> dict[str, FloatArray]:
    """Every tensor as it acts, float32, idle parts included."""
    config = standard_config(model.config)
    shapes = config.tensor_shapes() | config.optional_shapes()
    own = [*model.config.tensor_shapes(), *(name for name in model.config.optional_shapes() if name in model)]
    kinds = {name.split(".", 3)[3] for name in own if name.startswith("model.layers.")}
    made = {name: _padded(model.effective(name), shapes[name]) for name in own}
    for layer in model.config.without_attention:
        for kind in sorted(kinds):
            name = f"model.layers.{layer}.{kind}"
            if name not in made:
                made[name] = np.full(shapes[name], "norm" in kind, np.float32)
    return made


def readers_of(model: Checkpoint, config: ModelConfig) -> dict[str, Callable[[], FloatArray]]:
    """Readers of the tensors of a model of this configuration, from one that holds it in its standard form."""
    shapes = config.tensor_shapes() | config.optional_shapes()
    idle = config.without_attention
    return {
        name: partial(_cropped, read, shapes[name]) if config != model.config and name in shapes else read
        for name, read in model.readers.items()
        if name in shapes or not (name.startswith("model.layers.") and int(name.split(".")[2]) in idle)
    }


def _padded(tensor: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    if tensor.shape == shape:
        return tensor
    return np.pad(tensor, [(0, want - size) for size, want in zip(tensor.shape, shape, strict=True)])


def _cropped(read: Callable[[], FloatArray], shape: tuple[int, ...]) -> FloatArray:
    return np.ascontiguousarray(read()[tuple(map(slice, shape))])
