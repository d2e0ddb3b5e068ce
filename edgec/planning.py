"""Plans of whole models: the largest prefill chunk that fits, the cache's length, and what helps when nothing fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.compress.quantized import QuantizedModel
from edgec.compress.shapes import planned_model
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.ir.graph import Graph
from edgec.lower.llama import constants, lower
from edgec.memory.capacity import longest_context
from edgec.memory.plan import Plan
from edgec.memory.planner import plan
from edgec.recipe import KV_BITS, Recipe
from edgec.search.remedies import ModelOf, Search, on_chip_only, used_bytes
from edgec.target import Target

DEFAULT_CONTEXT, DEFAULT_CHUNK = 512, 16


def context_of(longest: int, recipe: Recipe) -> int:
    """Positions of the cache: the recipe's, or as many as the model was made for, at most 512. Raises RecipeError."""
    context = recipe.build.context or min(longest, DEFAULT_CONTEXT)
    if context > longest:
        raise RecipeError(f"the model was made for {longest} positions, --context asks for {context}.")
    return context


def needs_remedies(made: Plan) -> bool:
    """Whether a plan does not fit, or uses memory off the chip."""
    return bool(made.deficits()) or any(made.arena_bytes(m.name) for m in made.target.memories if not m.on_chip)


def remedies(model_of: ModelOf, recipe: Recipe, made: Plan, arrives_quantised: bool = False) -> list[dict[str, Any]]:
    """Changes with which a plan that does not fit would fit, or one that needs off-chip memory would do without."""
    if not needs_remedies(made):
        return []
    target = made.target if made.deficits() else on_chip_only(made.target)

    def plan_of(model: QuantizedModel, recipe: Recipe, target: Target) -> Plan:
        context = context_of(model.config.max_seq_len, recipe)
        return plan_model(model, constants(model, context), target, context, recipe)[1]

    search = Search(model_of, plan_of, recipe, target, made.context, used_bytes(made), arrives_quantised)
    return [asdict(remedy) for remedy in search.run()]


def models(loaded: Checkpoint, built: QuantizedModel, recipe: Recipe) -> ModelOf:
    """What other recipes make of a checkpoint, by shape: `built` itself where its matrices stay as they arrived."""
    first = "model.layers.0."
    extras = [n.removeprefix(first) for n in loaded.config.optional_shapes() if n.startswith(first) and n in loaded]

    def make(changed: Recipe) -> QuantizedModel:
        if loaded.packed and changed.stages == recipe.stages and changed.quantize == recipe.quantize:
            return replace(built, kv_bits=KV_BITS[changed.build.kv])
        return planned_model(loaded.config, extras, changed)

    return make


def plan_model(
    model: QuantizedModel, consts: Mapping[str, NDArray[Any]], target: Target, context: int, recipe: Recipe
) -> tuple[dict[str, Graph], Plan]:
    """Graphs and plan with the largest prefill chunk that fits (the recipe's, or 16, 8, 4, 2, 1).

    Blocks are planned alike, so a chunk that is too large for the compute memory is found out on one block.
    """
    chunk = min(recipe.build.chunk or DEFAULT_CHUNK, context)
    layers = 1 if chunk > 1 and recipe.build.chunk is None else None  # nothing to find out: plan all blocks at once
    while True:
        rows_by_name = {"prefill": chunk, "decode": 1}
        graphs = {name: lower(model, dict(consts), name, rows, context, layers) for name, rows in rows_by_name.items()}
        made = plan(graphs, target, context)
        if target.compute not in made.deficits() or chunk == 1 or recipe.build.chunk is not None:
            if layers is None:
                return graphs, made
            layers = None
        else:
            chunk //= 2


def longest_decode(model: QuantizedModel, consts: Mapping[str, NDArray[Any]], target: Target) -> int:
    """The longest context with which the model decodes on the target, up to what it was made for; on shapes alone."""
    table = consts["rope.table"]

    def make(context: int, layers: int) -> dict[str, Graph]:
        shaped = dict(consts) | {"rope.table": np.broadcast_to(table[:1], (context, table.shape[1]))}
        return {"decode": lower(model, shaped, "decode", 1, context, layers)}

    return longest_context(make, model.config.n_layers, target, model.config.max_seq_len)
