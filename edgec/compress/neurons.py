"""Structured pruning inside blocks: FFN neurons, heads, whole attentions go; what is left is smaller and dense.

    ffn = 0.25           this share of every block's FFN neurons, at least: what is left is a multiple of `multiple`
    heads = 0.34         this share of every block's heads, as whole groups that share keys and values
    attention = 2        so many blocks lose their attention, one after the other, each time the one that the loss on
                         the calibration text misses least; or remove_attention = [7, 12], these ones

metric = "activation"    what a neuron or group puts out (2SSP, Sandri et al. 2025, arXiv 2501.17771, whose second stage
                         is `attention`)
         "taylor"        |w * dL/dw| of its weights (LLM-Pruner, Ma et al. 2023, arXiv 2305.11627), summed by element or
                         by vector (`aggregate`)
         "magnitude"     |w| of its weights; needs no text

Neurons and heads are scored together in the model as it comes; attentions then go from what is left. Every block keeps
equally many neurons and heads, as a model has one number for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from edgec.compress.coupled import GROUP, NEURON, Index, cut_matrix, group_sizes, matrix, narrowed, without_attention
from edgec.compress.depth import original_layers
from edgec.compress.masks import Pattern
from edgec.compress.stage import Work, floats_of
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint, ModelConfig
from edgec.frontend.structure import Structure

METRICS = ("activation", "taylor", "magnitude")
AGGREGATES = ("element", "vector")


@dataclass(frozen=True)
class Neurons:
    """What goes, by which measure, on how much text."""

    method: ClassVar[str] = "neurons"
    ffn: float = 0.0
    heads: float = 0.0
    attention: int = 0
    remove_attention: tuple[int, ...] = ()  # blocks, counted from 0 in the model that the stage gets
    metric: str = "activation"
    aggregate: str = "element"  # of taylor
    multiple: int = 4  # of neurons left: cores take four inputs at a time, N-EUREKA 252 in its 3x3 form
    samples: int = 64  # windows of the calibration text for scores, or as many as it has
    search: int = 8  # windows on which the loss without an attention is measured
    length: int = 0  # tokens of a window; 0: the calibration's

    def __post_init__(self) -> None:
        if not (self.ffn or self.heads or self.attention or self.remove_attention):
            raise RecipeError("neurons takes a share of ffn or heads, or a number of attentions, that go.")
        for name in ("ffn", "heads"):
            if not 0 <= getattr(self, name) < 1:
                raise RecipeError(f"neurons.{name} is {getattr(self, name)}; it is a share below 1.")
        if self.attention < 0 or (self.attention and self.remove_attention):
            raise RecipeError(
                "neurons takes either attention, how many to remove, or remove_attention, of which blocks."
            )
        bare = self.remove_attention
        if len(set(bare)) < len(bare) or min(bare, default=0) < 0:
            raise RecipeError(f"neurons.remove_attention {list(bare)} must name each block once, counted from 0.")
        if self.metric not in METRICS:
            raise RecipeError(f"neurons.metric {self.metric!r} is unknown; known: {', '.join(METRICS)}.")
        if self.aggregate not in AGGREGATES or (self.aggregate != "element" and self.metric != "taylor"):
            raise RecipeError('neurons.aggregate is "element", or "vector" for the metric "taylor".')
        if min(self.multiple, self.samples, self.search) < 1 or (self.length != 0 and self.length < 2):
            raise RecipeError("neurons takes a multiple and samples of at least 1, and windows of 2 tokens.")

    def shape(self, config: ModelConfig) -> ModelConfig:
        """The smaller model's; which blocks lose their attention may depend on the text, so the last ones stand for
        them: the size is the same. Raises RecipeError if so much cannot go."""
        made = replace(config, ffn_dim=self._neurons(config))
        groups = self._groups(config)
        made = replace(made, n_heads=config.n_heads // config.n_kv_heads * groups, n_kv_heads=groups)
        having = config.attention_layers
        gone = list(self.remove_attention) or having[len(having) - self.attention :]
        if self.attention >= len(having) or not set(gone) < set(having):
            raise RecipeError(
                f"neurons cannot take the attention of {self.attention or f'blocks {gone}'} of {config.n_layers} "
                f"blocks; {len(having)} have one, and one must stay."
            )
        return replace(made, without_attention=tuple(sorted({*config.without_attention, *gone})))

    def _neurons(self, config: ModelConfig) -> int:
        """Neurons of a block that stay."""
        if not self.ffn:
            return config.ffn_dim
        left = (config.ffn_dim - round(self.ffn * config.ffn_dim)) // self.multiple * self.multiple
        if not 0 < left < config.ffn_dim:
            raise RecipeError(
                f"neurons.ffn {self.ffn} leaves {left} of {config.ffn_dim} neurons in multiples of {self.multiple}; "
                "some must go and some must stay."
            )
        return left

    def _groups(self, config: ModelConfig) -> int:
        """Key/value heads of a block that stay."""
        left = config.n_kv_heads - round(self.heads * config.n_kv_heads)
        if left < 1 or (self.heads and left == config.n_kv_heads):
            shared = config.n_heads // config.n_kv_heads
            raise RecipeError(
                f"neurons.heads {self.heads} leaves {left} of {config.n_kv_heads} groups of {shared} heads; some must "
                "go and some must stay."
            )
        return left

    def structure(self, structure: Structure) -> Structure:
        """The smaller model's, without factors of what goes. Raises RecipeError if blocks share tensors, or if blocks
        whose attention may go differ in size."""
        if structure.shared:
            raise RecipeError(
                "the neurons stage removes other neurons and heads from every block, but blocks share tensors here; "
                "put it before the stage that shares them."
            )
        made = self.shape(structure.config)
        kinds = {
            tuple(structure.factors.get(matrix(layer, role), 0) for role in GROUP)
            for layer in structure.config.attention_layers
        }
        if self.attention and len(kinds) > 1:
            raise RecipeError(
                "how much neurons.attention removes depends on the text, as attentions differ in rank here; name the "
                "blocks in remove_attention to plan without it."
            )
        shapes = made.tensor_shapes()
        return Structure(made, {name: rank for name, rank in structure.factors.items() if name in shapes})

    def check_patterns(self, structure: Structure, patterns: Mapping[str, Pattern]) -> None:
        """Raises RecipeError if columns would go from inside the windows of a matrix whose zeros follow a pattern."""
        for layer in range(structure.config.n_layers):
            for role, size, share in (("down", 1, self.ffn), ("o", group_sizes(structure.config)["o"], self.heads)):
                name = cut_matrix(structure, layer, role)[0]
                removed, of = patterns.get(name, (0, 1))
                if share and size % of:
                    raise RecipeError(
                        f"{name} is pruned {removed} of {of} along its inputs, which neurons would cut across; put "
                        "neurons before the pruning."
                    )

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The smaller model.

        work.notes get `lost`, the share of a block's scores that went (by kind), `groups`, the groups that stayed, and
        for attention `removed`, in the order in which they went, and `rankings`, [block, loss] lowest first, as numbers
        in the model before any pruning. Raises RecipeError for matrices that a quantise stage packed, for patterns that
        would break, and for a text too short.
        """
        if model.shared:
            self.structure(model.structure)
        self.shape(model.config)
        self.check_patterns(model.structure, model.patterns)
        if self.ffn or self.heads:
            model = self._narrowed(model, work)
        if self.remove_attention or self.attention:
            removed, rankings = (list(self.remove_attention), []) if self.remove_attention else self._rank(model, work)
            first = original_layers(model)
            work.notes["removed"] = [first[layer] for layer in removed]
            work.notes["rankings"] = [[[first[la], float(f"{loss:.6g}")] for la, loss in rank] for rank in rankings]
            model = without_attention(model, removed)
        return model

    def _narrowed(self, model: Checkpoint, work: Work) -> Checkpoint:
        from edgec.compress.coupled_scores import structure_scores

        config = model.config
        roles = [*(NEURON if self.ffn else ()), *(GROUP if self.heads else ())]
        names = [
            cut_matrix(model.structure, layer, role)[0]
            for layer in range(config.n_layers)
            for role in roles
            if matrix(layer, role) in model
        ]
        model = floats_of(model, names, self.method, work)
        tokens = None
        if self.metric != "magnitude":
            tokens = work.tokens(model, self.samples, self.length or None, at_most=True)
            work.notes["samples"] = len(tokens)
        scores = structure_scores(model, self.metric, self.aggregate, tokens, work)
        kept: dict[str, dict[int, Index]] = {"neurons": {}, "groups": {}}
        lost: dict[str, list[float]] = {}
        for kind, left, share in (
            ("neurons", self._neurons(config), self.ffn),
            ("groups", self._groups(config), self.heads),
        ):
            for layer, score in scores[kind].items() if share else ():
                if not np.isfinite(score).all():
                    raise RecipeError(f"{kind} of block {layer} score NaN or infinity; the model is damaged.")
                kept[kind][layer] = highest(score, left)
                gone = np.delete(score, kept[kind][layer]).sum() / max(score.sum(), 1e-300)
                lost.setdefault(kind, []).append(float(f"{gone:.4g}"))
        work.notes["lost"] = lost
        if self.heads:
            work.notes["groups"] = [each.tolist() for each in kept["groups"].values()]
        return narrowed(model, kept["neurons"], kept["groups"])

    def _rank(self, model: Checkpoint, work: Work) -> tuple[list[int], list[list[tuple[int, float]]]]:
        """The blocks whose attention goes, and the ranking before each went."""
        import torch

        from edgec.compress.block_scores import losses_without
        from edgec.compress.torch_model import load_torch

        module = load_torch(model)
        ids = torch.from_numpy(work.tokens(model, self.search, self.length or None, at_most=True))
        removed: list[int] = []
        rankings = []
        while len(removed) < self.attention:
            losses = losses_without(
                module,
                ids,
                list(range(model.config.n_layers)),
                [layer for layer in model.config.attention_layers if layer not in removed],
                work,
                len(removed),
                lambda layer, hidden: module.blocks[layer].feed_forward(hidden, module.act),
                "an attention",
            )
            if not all(map(np.isfinite, losses.values())):
                raise RecipeError("the loss on the calibration text is not finite; the model is damaged.")
            rankings.append(sorted(losses.items(), key=lambda pair: (pair[1], pair[0])))
            removed.append(rankings[-1][0][0])
            module.blocks[removed[-1]].self_attn = None
        return removed, rankings


def highest(score: Any, count: int) -> Index:
    """Places of the `count` highest scores, ascending; among equal ones those further right stay."""
    return np.sort(np.argsort(score, kind="stable")[len(score) - count :]).astype(np.int64)


STAGE = Neurons
