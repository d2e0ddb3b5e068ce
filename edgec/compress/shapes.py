"""Models without weights, for planning and lowering: every matrix has its shape, width and form, and no memory.

Sizes follow from the configuration and the recipe alone, so they are those of the build to come, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgec.compress.counts import state_after
from edgec.compress.quantized import QuantizedModel, QuantizedTensor
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.model_config import ModelConfig, learned_positions
from edgec.frontend.structure import Structure, role_of
from edgec.packing import n_groups, row_bytes
from edgec.packing_nm import PATTERNS, Pattern, place_bytes, units

if TYPE_CHECKING:
    from edgec.recipe import Recipe


def planned_model(structure: ModelConfig | Structure, extras: Iterable[str], recipe: Recipe) -> QuantizedModel:
    """What a recipe's build makes of a model of this shape; extras are the tensors of each layer that not all have.

    Raises RecipeError for a stage that is impossible for this shape.
    """
    from edgec.recipe import KV_BITS

    state = state_after(structure if isinstance(structure, Structure) else Structure(structure), recipe)
    config = state.structure.config
    optional = config.optional_shapes()
    names = {f"model.layers.{layer}.{extra}" for layer in range(config.n_layers) for extra in extras}
    shapes = state.structure.shapes() | {
        n: optional[n] for n in sorted(names & optional.keys() - state.structure.shared.keys())
    }
    matrices, floats, branches = {}, {}, {}
    centres = {}
    for name, shape in shapes.items():
        if len(shape) == 1 or learned_positions(name):
            floats[name] = _zeros(shape, np.float32)
            continue
        role = role_of(name)
        roles = ["head", "embed"] if config.tied_embeddings and role == "embed" else [role]
        grid = state.grids.get(name)
        bits, group = grid or recipe.quantize.for_roles(roles, bool(state.grids))
        pattern = state.patterns.get(name) if recipe.build.sparse == "auto" else None
        n, k = shape
        matrices[name] = empty(n, k, bits, group or k, pattern)
        if rank := state.ranks.get(name, 0):
            size, wide = matrices[name].group_size, recipe.build.branch_bits
            branches[name] = empty(rank, k, wide, size), empty(n, rank, wide, size)
    if any(stage.method == "smooth_keys" and stage.centre for stage in recipe.stages):
        width = (config.n_kv_heads * config.head_dim,)
        centres = {f"model.layers.{i}.self_attn": _zeros(width, np.float32) for i in config.attention_layers}
    kv_bits = KV_BITS[recipe.build.kv]
    return QuantizedModel(
        config,
        matrices,
        floats,
        branches=branches,
        key_centres=centres,
        kv_bits=kv_bits,
        factors=dict(state.structure.factors),
        shared=_of_kinds(state.structure.shared, {*shapes}),
    )


def _of_kinds(shared: Mapping[str, str], stored: set[str]) -> dict[str, str]:
    """Sharing of what exists: a block that is run again shares norms that its family may not have."""
    return {name: owner for name, owner in shared.items() if owner in stored}


def shapes_only(checkpoint: Checkpoint) -> QuantizedModel:
    """A model of the checkpoint's shape for lowering: 8-bit matrices of one group a row."""
    config = checkpoint.config
    shapes = config.tensor_shapes() | {n: s for n, s in config.optional_shapes().items() if n in checkpoint}
    matrices = {
        name: empty(*shape, 8, shape[1])
        for name, shape in shapes.items()
        if len(shape) == 2 and not learned_positions(name)
    }
    floats = {name: _zeros(shape, np.float32) for name, shape in shapes.items() if name not in matrices}
    return QuantizedModel(config, matrices, floats)


def empty(n: int, k: int, bits: int, group_size: int, pattern: Pattern | None = None) -> QuantizedTensor:
    """A matrix of zeros that takes no memory; packed by the pattern where that is smaller, as in `compress/nm.py`."""
    size = min(group_size, k)
    scale = _zeros((n, n_groups(k, size)), np.float16)
    if pattern in PATTERNS and k % pattern[1] == 0 and size % pattern[1] == 0:
        count = units(k, size, pattern)
        if count * (bits + place_bytes(pattern)) < row_bytes(k, bits, size):
            codes, places = (_zeros((n, count * width), np.uint8) for width in (bits, place_bytes(pattern)))
            return QuantizedTensor(codes, scale, None, k, bits, size, None, pattern, places)
    return QuantizedTensor(_zeros((n, row_bytes(k, bits, size)), np.uint8), scale, None, k, bits, size)


def _zeros(shape: tuple[int, ...], kind: Any) -> Any:
    return np.broadcast_to(np.zeros((), kind), shape)
