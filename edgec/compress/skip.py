"""Blocks in another order: left out, or run again (Franken-LLaMA).

    order = [0, 1, 2, 2, 3, 5]    the blocks that run, by their numbers in the model that the stage gets; or
    skip = [4]                    all but these, and
    repeat = ["2x2", "6-8x3"]     block 2 two times in a row, blocks 6, 7, 8 three times as a sequence

A block that runs again has a KV cache of its own, as its inputs are others, and shares its tensors: they are stored
once, on disk and on the device. So repeating costs time and cache, no weights. Needs no text.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from edgec.compress.blocks import with_blocks
from edgec.compress.depth import original_layers
from edgec.compress.stage import Work
from edgec.errors import RecipeError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.model_config import ModelConfig


@dataclass(frozen=True)
class Section:
    """Blocks first to last that run `times` times as a sequence."""

    first: int
    last: int
    times: int

    @classmethod
    def parse(cls, text: str) -> Section:
        """Of "BLOCKxTIMES" or "FIRST-LASTxTIMES"."""
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?x(\d{1,3})", text)
        if match is None or int(match[3]) < 2 or int(match[2] or match[1]) < int(match[1]):
            raise RecipeError(
                f'skip.repeat {text!r} is not "BLOCKxTIMES" or "FIRST-LASTxTIMES", such as "5x2": block 5 two times.'
            )
        return cls(int(match[1]), int(match[2] or match[1]), int(match[3]))


@dataclass(frozen=True)
class Skip:
    """Which blocks run, in which order."""

    method: ClassVar[str] = "skip"
    order: tuple[int, ...] = ()
    skip: tuple[int, ...] = ()
    repeat: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.order) == bool(self.skip or self.repeat):
            raise RecipeError("skip takes either order, the blocks that run, or skip and repeat.")
        if min((*self.order, *self.skip), default=0) < 0 or len(set(self.skip)) < len(self.skip):
            raise RecipeError("skip counts blocks from 0, and leaves each out once.")
        sections = sorted((s.first, s.last) for s in map(Section.parse, self.repeat))
        for (_, last), (first, _) in pairwise(sections):
            if first <= last:
                raise RecipeError(f"skip.repeat names block {first} twice; say it by order.")

    def block_order(self, config: ModelConfig) -> list[int]:
        """The blocks that run. Raises RecipeError for one that the model does not have, or if none is left."""
        sections = {s.first: s for s in map(Section.parse, self.repeat)}
        named = max((*self.order, *self.skip, *(s.last for s in sections.values())))
        if named >= config.n_layers:
            raise RecipeError(f"skip names block {named}; the model has blocks 0 to {config.n_layers - 1}.")
        if self.order:
            return list(self.order)
        found: list[int] = []
        layer = 0
        while layer < config.n_layers:
            section = sections.get(layer, Section(layer, layer, 1))
            once = [each for each in range(section.first, section.last + 1) if each not in self.skip]
            found += once * section.times
            layer = section.last + 1
        if not found:
            raise RecipeError(f"skip leaves none of {config.n_layers} blocks.")
        return found

    def shape(self, config: ModelConfig) -> ModelConfig:
        """That of a model with these blocks. Raises RecipeError if they cannot be."""
        order = self.block_order(config)
        if set(order) <= set(config.without_attention):
            raise RecipeError(f"skip leaves only blocks without attention: {sorted(set(order))}.")
        return config.with_blocks(order)

    def run(self, model: Checkpoint, work: Work) -> Checkpoint:
        """The model that runs these blocks. Everything that a block has moves with it (compress/blocks.py).

        work.notes get `layers`, the blocks that run, and `repeated`, how often those run that run more than once, as
        numbers in the model before any pruning.
        """
        self.shape(model.config)
        first = original_layers(model)
        order = self.block_order(model.config)
        work.notes["layers"] = [first[layer] for layer in order]
        times = Counter(work.notes["layers"])
        work.notes["repeated"] = [[layer, count] for layer, count in sorted(times.items()) if count > 1]
        return with_blocks(model, order)


STAGE = Skip
