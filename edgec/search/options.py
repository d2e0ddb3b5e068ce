"""Changes of a recipe that make a build smaller, in ladders from mild to strong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from edgec.compress.depth import Depth
from edgec.compress.quantize import QuantizeBlocks
from edgec.compress.quantized import QuantizedModel
from edgec.compress.smooth_keys import SmoothKeys
from edgec.compress.vocab import Vocab
from edgec.compress.width import Width
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.seq2seq_config import has_encoder
from edgec.frontend.structure import BLOCK_ROLES, Structure, role_of
from edgec.recipe import Recipe, RoleOverride
from edgec.search.losses import (
    CACHE_4_BITS,
    FEED_FORWARD,
    PATTERN,
    SMOOTHED_4_BITS,
    bits_loss,
    depth_loss,
    vocab_loss,
)

WIDTHS = (4, 3, 2)
ENDS = ("embed", "head")
HALVES = ("8:16", "4:8", "2:4")  # half of the weights go, by falling length of the window
VOCABULARIES = tuple(1 << bits for bits in range(17, 10, -1))  # 131,072 to 2,048 tokens


@dataclass(frozen=True)
class Option:
    """One change: in words, as tables of a recipe, and applied to one. loss: see losses.py."""

    change: str
    tables: dict[str, Any]
    apply: Callable[[Recipe], Recipe]
    loss: float | None


def ladders(recipe: Recipe, model: QuantizedModel, kept: bool, ranked: Sequence[int] = ()) -> dict[str, list[Option]]:
    """Options by kind; in each ladder every step is smaller than the one before. The context has its own search.

    model: what the recipe makes; kept: its matrices arrive quantised and stay so; ranked: blocks that may go, the one
    that is missed least first, where that was measured.
    """
    blocks = [m.bits for name, m in model.matrices.items() if name.startswith("model.layers.")]
    found = {"kv": _kv(recipe, kept), "chunk": _chunk(recipe), "bits": _bits(recipe, max(blocks, default=0), kept)}
    found["vocab"] = _vocab(recipe, model.config)
    if not kept:
        ends = model.matrices["model.embed_tokens.weight"].bits
        found |= {"ends": _ends(ends), "groups": _groups(recipe), "pattern": _patterns(recipe, model.structure)}
        found["depth"] = _depth(recipe, model.config, ranked)
    if has_encoder(model.config):  # stages work on decoders, an encoder's cache has 8 bits
        found = {kind: ladder for kind, ladder in found.items() if kind in ("chunk", "bits", "ends", "groups")}
    return {kind: ladder for kind, ladder in found.items() if ladder}


def with_context(before: int, context: int) -> Option:
    """Another length of the KV cache."""
    return _of_build(f"context {before:,} to {context:,}", 0.0, context=context)


def _of_build(change: str, loss: float | None, **values: Any) -> Option:
    return Option(change, {"build": values}, lambda r: replace(r, build=replace(r.build, **values)), loss)


def _of_quantize(change: str, loss: float | None, **values: Any) -> Option:
    return Option(
        change,
        {"quantize": values},
        lambda r: replace(r, quantize=replace(r.quantize, **values)),
        loss,
    )


def _stage_first(change: str, loss: float | None, method: str, stage: Any, **values: Any) -> Option:
    tables = {"stage": [{"method": method} | values]}
    return Option(change, tables, lambda r: replace(r, stages=(stage, *r.stages)), loss)


def _kv(recipe: Recipe, kept: bool) -> list[Option]:
    """A cache of 4 bits, behind smoothed keys where the weights can still be changed."""
    if recipe.build.kv == "int4":
        return []
    plain = _of_build("KV cache in 4 bits", CACHE_4_BITS, kv="int4")
    if kept or any(isinstance(s, SmoothKeys) for s in recipe.stages):
        return [plain]
    smooth = _stage_first("", None, "smooth_keys", SmoothKeys())
    tables, change = plain.tables | smooth.tables, "KV cache in 4 bits, keys smoothed"
    return [Option(change, tables, lambda r: plain.apply(smooth.apply(r)), SMOOTHED_4_BITS)]


def _chunk(recipe: Recipe) -> list[Option]:
    """Only a chunk that was asked for; otherwise the planner has tried them all."""
    made, chunk = [], recipe.build.chunk or 1
    while chunk > 1:
        chunk //= 2
        made.append(_of_build(f"prefill in chunks of {chunk}", 0.0, chunk=chunk))
    return made


def _ends(now: int) -> list[Option]:
    """Embedding and head in fewer bits."""

    def narrowed(recipe: Recipe, bits: int) -> Recipe:
        roles = {name: replace(recipe.quantize.roles.get(name, RoleOverride()), bits=bits) for name in ENDS}
        return replace(recipe, quantize=replace(recipe.quantize, roles=recipe.quantize.roles | roles))

    made = []
    for bits in (b for b in WIDTHS if b < now):
        tables = {"quantize": {"roles": {name: {"bits": bits} for name in ENDS}}}
        change = f"embedding and head in {bits} bits"
        made.append(Option(change, tables, partial(narrowed, bits=bits), None))
    return made


def _vocab(recipe: Recipe, config: ModelConfig) -> list[Option]:
    """Powers of two below the vocabulary; which tokens they are, the recipe's calibration text tells."""
    if any(isinstance(s, Vocab) for s in recipe.stages):
        return []
    return [
        _stage_first(f"trim vocabulary to {size:,}", vocab_loss(size), "vocab", Vocab(size), size=size)
        for size in VOCABULARIES
        if size < config.vocab_size
    ]


def _groups(recipe: Recipe) -> list[Option]:
    """Fewer scales."""
    now = recipe.quantize.group_size
    if _quantizes(recipe):
        return []
    return [
        _of_quantize(words, None, group_size=size)
        for size, words in ((128, "a scale for 128 weights"), (0, "a scale for a whole row"))
        if 0 < now < (size or 1 << 30)
    ]


def _bits(recipe: Recipe, now: int, kept: bool) -> list[Option]:
    """The blocks' matrices in fewer bits: in the stage that quantises them, or where the build rounds."""
    stage = next((s for s in recipe.stages if isinstance(s, QuantizeBlocks)), None)
    anew: dict[str, Any] = {"keep": False} if kept else {}

    def narrowed(recipe: Recipe, bits: int) -> Recipe:
        stages = [replace(s, bits=bits) if isinstance(s, QuantizeBlocks) else s for s in recipe.stages]
        return replace(recipe, stages=tuple(stages))

    made = []
    for bits in (b for b in WIDTHS if b < now):
        change, loss = f"weights in {bits} bits", bits_loss(now, bits)
        if stage:
            tables = {"stage": [{"method": "quantize", "bits": bits}]}
            made.append(Option(change, tables, partial(narrowed, bits=bits), loss))
        else:
            made.append(_of_quantize(change, loss, bits=bits, **anew))
    return made


def _patterns(recipe: Recipe, structure: Structure) -> list[Option]:
    """Half of the weights in the longest pattern that has a packed form for the model's rows.

    2:4, 4:8 and 8:16 take the same bytes, and the longer one loses less.
    """
    if any(isinstance(s, Width) for s in recipe.stages) or recipe.build.sparse != "auto":
        return []
    fed = ("gate", "up", "down")
    made = []
    for words, roles, losses in (("feed-forward", fed, FEED_FORWARD), ("blocks", BLOCK_ROLES, PATTERN)):
        pattern = next((p for p in HALVES if _packs(p, roles, recipe, structure)), None)
        if pattern is not None:
            removed, of = pattern.split(":")
            change = f"remove {removed} of {of} weights of the {words}"
            values: dict[str, Any] = {"pattern": pattern} | ({"roles": roles} if roles == fed else {})
            made.append(_stage_first(change, losses.get(pattern), "width", Width(**values), **values))
    return made


def _packs(pattern: str, roles: Sequence[str], recipe: Recipe, structure: Structure) -> bool:
    """Whether windows of the pattern divide the groups of all of these roles' rows."""
    of, shapes = int(pattern.partition(":")[2]), structure.shapes()
    stage = next((s for s in recipe.stages if isinstance(s, QuantizeBlocks)), recipe.quantize)
    rows = [shapes[name][1] for name in structure.stored_matrices() if role_of(name) in roles]
    return all(k % of == 0 and min(stage.group_size or k, k) % of == 0 for k in rows)


def _depth(recipe: Recipe, config: ModelConfig, ranked: Sequence[int]) -> list[Option]:
    """One block less, two less, ... as long as some may go; by their numbers where they are ranked."""
    if config.without_attention or any(isinstance(s, Depth) for s in recipe.stages):
        return []  # which of unlike blocks go, and so what is saved, only their text could tell
    safe = Depth(blocks=1).protect_first + Depth(blocks=1).protect_last
    made = []
    for count in range(1, config.n_layers - safe + 1):
        loss = depth_loss(count, config.n_layers)
        if len(ranked) >= count:
            gone = tuple(sorted(ranked[:count]))
            change = f"drop {'layer' if count == 1 else 'layers'} {', '.join(map(str, gone))}"
            made.append(_stage_first(change, loss, "depth", Depth(remove=gone), remove=gone))
        else:
            change = f"{config.n_layers - count} layers instead of {config.n_layers}"
            made.append(_stage_first(change, loss, "depth", Depth(blocks=count), blocks=count))
    return made


def _quantizes(recipe: Recipe) -> bool:
    return any(isinstance(s, QuantizeBlocks) for s in recipe.stages)
