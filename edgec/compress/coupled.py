"""Structures that go as a whole: FFN neurons, groups of heads, the attention of a block. What is left is dense.

    neuron    a row of gate (where there is one), a row of up, a column of down
    group     rows of k and v of one key/value head, rows of q of the heads that share it, their columns of o
    attention q, k, v, o of a block and the norms around them

Biases go with rows; low-rank branches and key centres are cut alike.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.frontend.checkpoint import Checkpoint, FloatArray, LowRank, ModelConfig
from edgec.frontend.structure import Structure

Index = NDArray[np.int64]
NEURON = {"gate": 0, "up": 0, "down": 1}  # axis of the matrix along which a structure's part is cut, by role
GROUP = {"q": 0, "k": 0, "v": 0, "o": 1}


def matrix(layer: int, role: str) -> str:
    """The name of a block's matrix."""
    return f"model.layers.{layer}.{'mlp' if role in NEURON else 'self_attn'}.{role}_proj.weight"


def cut_matrix(structure: Structure, layer: int, role: str) -> tuple[str, int]:
    """The stored matrix of a role that is cut, and along which axis: of a product the factor on that side."""
    axis = (NEURON | GROUP)[role]
    return structure.parts(matrix(layer, role))[0 if axis else -1], axis


def narrowed(model: Checkpoint, neurons: Mapping[int, Index], groups: Mapping[int, Index]) -> Checkpoint:
    """The model with only these neurons (by block) and these groups (by block with attention), in the order given.

    Either may be empty: nothing of that kind goes. All blocks keep equally many. Matrices that are cut are neither
    packed nor shared.
    """
    config, structure = model.config, model.structure
    cut: list[tuple[int, str, Index]] = []
    for layer, kept in neurons.items():
        cut += [(layer, role, kept) for role in NEURON if role != "gate" or config.gated]
        config = replace(config, ffn_dim=len(kept))
    centres = dict(model.key_centres)
    for layer, kept in groups.items():
        sizes = group_sizes(model.config)
        cut += [(layer, role, _spread(kept, sizes[role])) for role in GROUP]
        attn = f"model.layers.{layer}.self_attn"
        if attn in centres:
            centres[attn] = centres[attn][_spread(kept, config.head_dim)]
        per_group = model.config.n_heads // model.config.n_kv_heads
        config = replace(config, n_heads=per_group * len(kept), n_kv_heads=len(kept))
    readers, branches = dict(model.readers), dict(model.branches)
    for layer, role, index in cut:
        name, axis = cut_matrix(structure, layer, role)
        readers[name] = partial(_taken, readers[name], axis, index)
        bias = matrix(layer, role).replace(".weight", ".bias")
        if axis == 0 and bias in readers:
            readers[bias] = partial(_taken, readers[bias], 0, index)
        if branch := branches.get(name):
            a, b = (branch.a, branch.b[index]) if axis == 0 else (branch.a[:, index], branch.b)
            branches[name] = LowRank(np.ascontiguousarray(a), np.ascontiguousarray(b))
    return replace(model, config=config, readers=readers, branches=branches, key_centres=centres)


def group_sizes(config: ModelConfig) -> dict[str, int]:
    """Rows (of o: columns) of a group in each matrix."""
    wide = config.n_heads // config.n_kv_heads * config.head_dim
    return {"q": wide, "k": config.head_dim, "v": config.head_dim, "o": wide}


def without_attention(model: Checkpoint, layers: Collection[int]) -> Checkpoint:
    """The model whose blocks `layers` have no attention; everything that belonged to it goes. None of it is shared."""
    parts = ("self_attn", "input_layernorm", *(["post_attention_layernorm"] if model.config.double_norms else []))
    gone = tuple(f"model.layers.{layer}.{part}." for layer in layers for part in parts)

    def rest(table: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in table.items() if not f"{name}.".startswith(gone)}

    bare = tuple(sorted({*model.config.without_attention, *layers}))
    return replace(
        model,
        config=replace(model.config, without_attention=bare),
        readers=rest(model.readers),
        packed=rest(model.packed),
        branches=rest(model.branches),
        patterns=rest(model.patterns),
        key_centres=rest(model.key_centres),
        factors=rest(model.factors),
    )


def _spread(kept: Index, size: int) -> Index:
    """Rows of these groups of `size` rows each."""
    found: Index = (kept[:, None] * size + np.arange(size)).reshape(-1)
    return found


def _taken(read: Callable[[], FloatArray], axis: int, index: Index) -> FloatArray:
    return np.take(read(), index, axis=axis)
