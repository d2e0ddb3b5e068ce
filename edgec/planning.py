"""Plans of whole models: the largest prefill chunk that fits, the cache's length, and what helps when nothing fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from edgec.compress.quantized import QuantizedModel
from edgec.compress.shapes import planned_model
from edgec.compress.stage import refuse_stages
from edgec.compress.vocab import Vocab
from edgec.compress.vocabulary import ROWS
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.encoder_config import encodes
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.seq2seq_config import has_encoder
from edgec.ir.graph import Graph
from edgec.lower.model import constants, rows_by_program
from edgec.lower.programs import of_any_length, programs, ready
from edgec.memory.capacity import longest_context
from edgec.memory.choices import ALL
from edgec.memory.collector import no_cycle_search
from edgec.memory.plan import Plan
from edgec.memory.planner import plan, short_levels
from edgec.memory.repeat import Decisions
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


def refuse_for_encoder(config: ModelConfig, recipe: Recipe, explain: bool = False) -> None:
    """Raise RecipeError for a model with an encoder where something is made for models that continue text."""
    if not has_encoder(config):
        return
    refuse_stages(config, recipe.stages)
    if recipe.build.kv != "int8":
        raise RecipeError(f"an encoder's keys and values have 8 bits, the recipe asks for {recipe.build.kv}.")
    if explain and encodes(config):
        raise RecipeError("--explain compares runs of models that continue text; this is an encoder.")


def needs_remedies(made: Plan) -> bool:
    """Whether a plan does not fit, or uses memory off the chip."""
    return bool(made.deficits()) or any(made.arena_bytes(m.name) for m in made.target.memories if not m.on_chip)


def remedies(
    model_of: ModelOf,
    recipe: Recipe,
    made: Plan,
    arrives_quantised: bool = False,
    rank_layers: Callable[[], Sequence[int]] | None = None,
) -> list[dict[str, Any]]:
    """Changes with which a plan that does not fit would fit, or one that needs off-chip memory would do without."""
    if not needs_remedies(made):
        return []
    target = made.target if made.deficits() else on_chip_only(made.target)
    known = Decisions(target)

    def plan_of(model: QuantizedModel, recipe: Recipe, target: Target) -> Plan:
        context = context_of(model.config.max_seq_len, recipe)
        model = ready(model, target, context)
        return plan_model(model, target, context, recipe, known)[1]

    search = Search(model_of, plan_of, recipe, target, made.context, used_bytes(made), arrives_quantised, rank_layers)
    return [asdict(remedy) for remedy in search.run()]


def models(loaded: Checkpoint, built: QuantizedModel, recipe: Recipe) -> ModelOf:
    """What other recipes make of a checkpoint, by shape: `built` itself where its matrices stay as they arrived."""
    found = (name.split(".", 3)[3] for name in loaded.config.optional_shapes() if name in loaded)
    extras = list(dict.fromkeys(found))  # of any layer: some may have no attention

    def make(changed: Recipe) -> QuantizedModel:
        fewer = next((s for s in changed.stages if isinstance(s, Vocab) and s not in recipe.stages), None)
        if fewer:
            fewer.choice(loaded.tokenizer)  # which may not have as few tokens
        same = tuple(s for s in changed.stages if s is not fewer) == recipe.stages
        if loaded.packed and same and changed.quantize == recipe.quantize:
            made = replace(built, kv_bits=KV_BITS[changed.build.kv])
            return _with_tokens(made, fewer.size) if fewer else made
        return planned_model(loaded.structure, extras, changed)

    return make


def _with_tokens(model: QuantizedModel, size: int) -> QuantizedModel:
    """The model with the first `size` tokens: in shape what trimming the vocabulary leaves."""
    rows = {name: model.matrices[name].rows(slice(size)) for name in ROWS if name in model.matrices}
    config = replace(model.config, vocab_size=size)
    return replace(model, config=config, matrices=model.matrices | rows)


@no_cycle_search()
def plan_model(
    model: QuantizedModel, target: Target, context: int, recipe: Recipe, known: Decisions | None = None
) -> tuple[dict[str, Graph], Plan]:
    """Graphs and plan of a `ready` model with the largest chunk that fits (the recipe's, or 16, 8, 4, 2, 1).

    Blocks are planned alike, so a chunk that is too large for the compute memory is found out on one block.
    known: decisions of plans for the same target, which these add to.
    """
    known = known or Decisions(target)
    consts = constants(model, context)
    chunk = min(recipe.build.chunk or DEFAULT_CHUNK, context)
    layers = 1 if chunk > 1 and recipe.build.chunk is None else None  # nothing to find out: plan all blocks at once
    while True:
        graphs = programs(model, consts, rows_by_program(model.config, chunk), context, target, ALL, layers)
        made = plan(graphs, target, context, known=known) if layers is None else None
        short = short_levels(graphs, target, context, known) if made is None else made.deficits()
        if target.compute not in short or chunk == 1 or recipe.build.chunk is not None:
            if made is not None:
                return graphs, made
            layers = None
        else:
            # Where a token alone is too much already no chunk helps.
            alone = {name: graph for name, graph in graphs.items() if name == "decode"}
            hopeless = alone and target.compute in short_levels(alone, target, context, known)
            chunk = 1 if hopeless else chunk // 2


def without(choice: str, model: QuantizedModel, made: Plan) -> Plan:
    """The plan of a model as quantised, made again without one of the `Choices`, for the same chunk and context."""
    choices = replace(ALL, **{choice: False})
    model = ready(model, made.target, made.context, choices)
    rows = {name: program.rows for name, program in made.programs.items()}
    graphs = programs(model, constants(model, made.context), rows, made.context, made.target, choices)
    return plan(graphs, made.target, made.context, choices)


def longest_decode(model: QuantizedModel, target: Target) -> int:
    """The longest context with which a `ready` model decodes, or encodes, on the target, up to what it was made for."""
    return longest_context(of_any_length(model, target), model.config.n_layers, target, model.config.max_seq_len)
