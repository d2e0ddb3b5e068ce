"""The blocks of a model in another order: left out, or run again. What is run twice is stored once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgec.frontend.checkpoint import Checkpoint

BLOCKS = "model.layers."


def with_blocks(model: Checkpoint, order: Sequence[int]) -> Checkpoint:
    """The model that runs these blocks, in this order; each has a cache of its own.

    Packed matrices, branches, patterns, factors and key centres move with their tensors; what is one tensor in both
    models is said by `Structure.with_blocks`.
    """
    made, names = model.structure.with_blocks(order)
    tables: dict[str, Any] = {}
    for table in ("readers", "packed", "branches", "patterns"):
        old = getattr(model, table)
        moved = {new: old[was] for new, was in names.items() if was in old}
        tables[table] = {name: value for name, value in old.items() if not name.startswith(BLOCKS)} | moved
    shared = {name: owner for name, owner in made.shared.items() if owner in tables["readers"]}
    centres = {
        f"{BLOCKS}{new}.self_attn": centre
        for new, old in enumerate(order)
        if (centre := model.key_centres.get(f"{BLOCKS}{old}.self_attn")) is not None
    }
    return replace(model, config=made.config, factors=made.factors, shared=shared, key_centres=centres, **tables)
