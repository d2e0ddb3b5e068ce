"""find_remedies(): changes of the recipe with which a model meets the demand, each planned anew and seen to fit.

Of every kind of change the mildest step that suffices alone; if none does, steps of several kinds together, of which
none can be left out. Ranked by the loss of quality to expect (losses.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import tomli_w

from edgec.compress.quantized import QuantizedModel
from edgec.errors import RecipeError
from edgec.lower.model import constants
from edgec.lower.programs import of_any_length, ready
from edgec.memory.capacity import capacity_bytes, fits, longest_context
from edgec.memory.plan import Plan, main
from edgec.memory.repeat import Decisions
from edgec.recipe import Recipe
from edgec.search.options import Option, ladders, with_context
from edgec.target import Target

ModelOf = Callable[[Recipe], QuantizedModel]
PlanOf = Callable[[QuantizedModel, Recipe, Target], Plan]
TOGETHER = ("kv", "chunk", "ends", "bits", "groups", "pattern", "vocab", "depth")  # in which order kinds are added
SHORTEST = 16  # positions: a context below is no remedy


@dataclass(frozen=True)
class Remedy:
    """A change that suffices: in words, as lines of a recipe; bytes less in all memories, predicted tokens per second
    at the end of the context; loss: the expected logarithm of perplexity after over before, None if not measured."""

    change: str
    recipe: str
    saved_bytes: int
    tokens_per_second: float
    loss: float | None


@dataclass(frozen=True)
class Search:
    """What does not fit, and how models and plans of other recipes are made.

    The target has no off-chip memory if the demand is to do without.
    """

    model_of: ModelOf
    plan_of: PlanOf
    recipe: Recipe
    target: Target
    context: int
    used_bytes: int
    arrives_quantised: bool = False
    rank_layers: Callable[[], Sequence[int]] | None = None  # blocks that may go, the one that is missed least first

    @cached_property
    def ranked(self) -> Sequence[int]:
        """The blocks' ranking, measured when a recipe may drop some; empty where it cannot be."""
        return self.rank_layers() if self.rank_layers is not None else ()

    @cached_property
    def known(self) -> Decisions:
        """Decisions of all plans of the search."""
        return Decisions(self.target)

    @cached_property
    def models(self) -> dict[str, QuantizedModel]:
        """What recipes made, each `ready` for the target."""
        return {}

    def ready(self, recipe: Recipe) -> QuantizedModel:
        """A recipe's model as it is planned. Raises RecipeError."""
        key = repr(recipe)
        if key not in self.models:
            self.models[key] = ready(self.model_of(recipe), self.target)
        return self.models[key]

    def run(self) -> tuple[Remedy, ...]:
        """Remedies, the one with the least loss first; empty if no change that is known suffices."""
        kinds = self.ladders(self.recipe)
        sufficient = [step for ladder in kinds.values() if (step := self.mildest(ladder, self.recipe))]
        found = [[step] for step in sufficient]
        if shorter := self.shorter(self.recipe):
            found.append([shorter])
        if not found:
            found = [together] if (together := self.together()) else []
        remedies = [made for steps in found if (made := self.planned(steps))]
        return tuple(sorted(remedies, key=lambda r: (r.loss is None, r.loss or 0.0, -r.tokens_per_second)))

    def ladders(self, recipe: Recipe) -> dict[str, list[Option]]:
        """What can be changed about a recipe that is possible."""
        kept = self.arrives_quantised and recipe.quantize.keep
        return ladders(recipe, self.model_of(recipe), kept, () if kept else self.ranked)

    def mildest(self, ladder: Sequence[Option], recipe: Recipe) -> Option | None:
        """The first step of a ladder that suffices, found by halving: every step is smaller than the one before."""
        low, high = 0, len(ladder)
        if not ladder or self.outweighs(ladder[-1].apply(recipe)):
            return None
        while low < high:
            middle = (low + high) // 2
            if self.suffices(ladder[middle].apply(recipe)):
                high = middle
            else:
                low = middle + 1
        return ladder[low] if low < len(ladder) else None

    def shorter(self, recipe: Recipe) -> Option | None:
        """The longest context that suffices, in multiples of 8."""
        if not self.possible(recipe) or self.outweighs(recipe):
            return None
        model = self.ready(recipe)
        make, layers = of_any_length(model, self.target, recipe.build.chunk), model.config.n_layers
        longest = longest_context(make, layers, self.target, self.context, self.known) // 8 * 8
        return with_context(self.context, longest) if SHORTEST <= longest < self.context else None

    def together(self) -> list[Option]:
        """Steps of several kinds that suffice together, without those that turn out not to be needed; or none."""
        steps: list[Option] = []
        recipe = self.recipe
        for kind in TOGETHER:
            ladder = self.ladders(recipe).get(kind, [])
            usable = [step for step in ladder if self.possible(step.apply(recipe))]
            last = self.mildest(usable, recipe)
            if last or usable:
                steps.append(last or usable[-1])
                recipe = steps[-1].apply(recipe)
            if last:
                break
            if shorter := self.shorter(recipe):
                steps.append(shorter)
                break
        else:
            return []
        for step in list(steps):
            rest = [s for s in steps if s is not step]
            if self.suffices(_applied(self.recipe, rest)):
                steps = rest
        return steps

    def possible(self, recipe: Recipe) -> bool:
        """Whether a model of this shape can have the recipe."""
        try:
            self.ready(recipe)
        except RecipeError:
            return False
        return True

    def outweighs(self, recipe: Recipe) -> bool:
        """Whether the constants that a recipe makes are more than all memories hold."""
        if not self.possible(recipe):
            return False
        held = sum(array.nbytes for array in constants(self.ready(recipe), 1).values())
        return held > capacity_bytes(self.target)

    def suffices(self, recipe: Recipe) -> bool:
        """Whether the model fits with this recipe: sizes of what lives for good first, then a plan of one block."""
        if not self.possible(recipe) or self.outweighs(recipe):
            return False
        model = self.ready(recipe)
        context = min(recipe.build.context or self.context, self.context)
        graphs = of_any_length(model, self.target, recipe.build.chunk)
        return fits(graphs, context, model.config.n_layers, self.target, self.known)

    def planned(self, steps: Sequence[Option]) -> Remedy | None:
        """The remedy that these steps are, from a plan of the whole model; None if that plan does not fit after all."""
        from edgec.cost.estimate import longest_run

        recipe = _applied(self.recipe, steps)
        recipe = replace(recipe, build=replace(recipe.build, context=recipe.build.context or self.context))
        made = self.plan_of(self.model_of(recipe), recipe, self.target)
        if made.deficits():
            return None
        program = main(made.programs)
        cycles = longest_run(self.target, made.context, program)
        known = [s.loss for s in steps]
        return Remedy(
            ", ".join(s.change for s in steps),
            tomli_w.dumps(_merged(s.tables for s in steps)).strip(),
            self.used_bytes - used_bytes(made),
            round(program.rows * self.target.clock_hz / cycles, 4),
            None if None in known else round(sum(k for k in known if k is not None), 4),
        )


def used_bytes(plan: Plan) -> int:
    """Bytes of all memories that the plan's data take; code and stack, which a change leaves alone, not counted."""
    return sum(plan.arena_bytes(m.name) for m in plan.target.memories)


def on_chip_only(target: Target) -> Target:
    """The target with its off-chip memories of no size."""
    memories = tuple(m if m.on_chip else replace(m, capacity_bytes=0) for m in target.memories)
    return replace(target, memories=memories)


def _applied(recipe: Recipe, steps: Sequence[Option]) -> Recipe:
    for step in steps:
        recipe = step.apply(recipe)
    return recipe


def _merged(tables: Any) -> dict[str, Any]:
    """Tables of several changes as one recipe: stages in the order in which they are applied, the rest merged."""
    merged: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            if key == "stage":
                merged["stage"] = [*value, *merged.get("stage", [])]
            else:
                merged[key] = _deep(merged.get(key, {}), value)
    return merged


def _deep(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: _deep(a[key], b[key]) for key in a if key in b and isinstance(a[key], dict)}
    return {**a, **b, **both}
