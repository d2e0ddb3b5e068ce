"""Depth pruning: whole decoder blocks go; the model is a shorter one of the same family.

    blocks = 2             how many; or remove = [7, 12], these ones (counted from 0 in the model that the stage gets)

metric = "perplexity"      the loss on a calibration text without the block; what hurts least goes
         "taylor"          sum |w * dL/dw| of its matrices (Kim et al. 2024, arXiv 2402.02834)
         "magnitude"       sum |w|; needs no text
schedule = "oneshot"       one ranking for all
           "iterative"     a new one after each removal (SLEB, Song et al. 2024, arXiv 2402.09025)

Embedding, final norm and head are never candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import ClassVar

from edgec.compress.blocks import with_blocks
from edgec.compress.stage import Calibration, Work
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.model_config import ModelConfig

METRICS = ("perplexity", "taylor", "magnitude")
SCHEDULES = ("oneshot", "iterative")


@dataclass(frozen=True)
class Depth:
    """How many blocks go, by which measure, and which ones are safe from it."""

    method: ClassVar[str] = "depth"
    blocks: int = 0
    metric: str = "perplexity"
    schedule: str = "oneshot"
    protect_first: int = 4
    protect_last: int = 2
    samples: int = 10  # windows of the calibration text
    length: int = 128  # tokens of a window
    remove: tuple[int, ...] = ()  # in place of a ranking; protects nothing

    def __post_init__(self) -> None:
        if self.blocks < 0 or bool(self.blocks) == bool(self.remove):
            raise RecipeError("depth takes either blocks, how many to remove, or remove, the list of which.")
        if self.metric not in METRICS:
            raise RecipeError(f"depth.metric {self.metric!r} is unknown; known: {', '.join(METRICS)}.")
        if self.schedule not in SCHEDULES:
            raise RecipeError(f"depth.schedule {self.schedule!r} is unknown; known: {', '.join(SCHEDULES)}.")
        if min(self.protect_first, self.protect_last) < 0:
            raise RecipeError("depth.protect_first and protect_last are at least 0.")
        if self.samples < 1 or self.length < 2:
            raise RecipeError(f"depth takes at least 1 sample of 2 tokens, not {self.samples} of {self.length}.")
        if len(set(self.remove)) < len(self.remove) or min(self.remove, default=0) < 0:
            raise RecipeError(f"depth.remove {list(self.remove)} must name each block once, counted from 0.")

    def shape(self, config: ModelConfig) -> ModelConfig:
        """The shorter model's. Raises RecipeError if so many, or these, blocks cannot go."""
        n = config.n_layers
        free = n - self.protect_first - self.protect_last
        if self.remove and (max(self.remove) >= n or len(self.remove) >= n):
            raise RecipeError(f"depth.remove {list(self.remove)} does not leave a model of {n} blocks, 0 to {n - 1}.")
        if self.blocks > max(free, 0):
            raise RecipeError(
                f"depth cannot remove {self.blocks} of {n} blocks: with the first {self.protect_first} and the last "
                f"{self.protect_last} protected {max(free, 0)} may go. Lower blocks, protect_first or protect_last."
            )
        if self.blocks == n:
            raise RecipeError(f"depth cannot remove all {n} blocks.")
        if self.blocks and config.without_attention:
            raise RecipeError(
                "depth cannot rank blocks of which some have lost their attention, as the size left would depend on "
                "the text; put it before neurons, or name the blocks in depth.remove."
            )
        return config.with_blocks(self.block_order(config))

    def block_order(self, config: ModelConfig) -> list[int]:
        """The blocks that stay. Where a ranking decides, as if the last ones that may go went: all are of a size."""
        last = config.n_layers - self.protect_last
        removed = self.remove or range(last - self.blocks, last)
        return [layer for layer in range(config.n_layers) if layer not in removed]

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The model without the blocks, those behind them renumbered.

        work.notes get `layers`, the blocks that are left, `removed`, in the order in which they went, and `rankings`,
        [block, score] lowest first, a list for each ranking; all as numbers in the model before any pruning.
        """
        self.shape(model.config)
        removed, rankings = (list(self.remove), []) if self.remove else self._rank(model, work)
        first = original_layers(model)
        work.notes["layers"] = [number for layer, number in enumerate(first) if layer not in removed]
        work.notes["removed"] = [first[layer] for layer in removed]
        work.notes["rankings"] = [[[first[la], float(f"{score:.6g}")] for la, score in rank] for rank in rankings]
        return without_blocks(model, removed)

    def _rank(self, model: Checkpoint, work: Work) -> tuple[list[int], list[list[tuple[int, float]]]]:
        """The blocks to remove, and every ranking on the way, lowest score first."""
        from edgec.compress.block_scores import scorer

        n = model.config.n_layers
        candidates = list(range(self.protect_first, n - self.protect_last))
        score = scorer(model, self.metric, lambda: work.tokens(model, self.samples, self.length), work)
        removed: list[int] = []
        rankings = []
        while len(removed) < self.blocks:
            alive = [layer for layer in range(n) if layer not in removed]
            scores = score(alive, [layer for layer in candidates if layer not in removed], len(removed))
            for layer, value in scores.items():
                if not math.isfinite(value):
                    raise RecipeError(f"block {layer} scores {value} on the calibration text; the model is damaged.")
            ranking = sorted(scores.items(), key=lambda pair: (pair[1], pair[0]))
            rankings.append(ranking)
            count = 1 if self.schedule == "iterative" else self.blocks
            removed += [layer for layer, _ in ranking[:count]]
        return removed, rankings


def rank_layers(model: Checkpoint, calibration: Calibration, seed: int, say: Callable[[str], None]) -> list[int]:
    """The blocks that the stage's defaults may remove, the one that is missed least first, by one ranking.

    None if a ranking is impossible: the model is too short for one, or the text.
    """
    work = Work(lambda: model, calibration, seed, say=lambda text, done, total: say(f"{text} {done + 1}/{total}"))
    stage = Depth(blocks=1)
    try:
        stage.shape(model.config)
        _, rankings = stage._rank(model, work)
    except RecipeError:
        return []
    return [layer for layer, _ in rankings[0]]


def original_layers(model: Checkpoint) -> list[int]:
    """For every block its number before any stage that left blocks out or ran them again."""
    for stage in reversed(model.stages):
        if stage.get("method") in ("depth", "skip"):
            return list(stage["notes"]["layers"])
    return list(range(model.config.n_layers))


def without_blocks(model: Checkpoint, removed: Collection[int]) -> Checkpoint:
    """The model without these blocks."""
    return with_blocks(model, [layer for layer in range(model.config.n_layers) if layer not in removed])


STAGE = Depth
