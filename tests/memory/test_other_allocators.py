"""omnimalloc's allocators on random pieces and on the buffers of real plans: none of them needs less."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
from random_pieces import random_pieces

from edgec.compress.shapes import planned_model
from edgec.frontend.huggingface_config import architecture_of
from edgec.lower.programs import ready
from edgec.memory.call_tables import CALLS
from edgec.memory.offsets import Piece, assign
from edgec.memory.plan import ALIGN, Buffer, Plan
from edgec.planning import plan_model
from edgec.recipe import Build, Quantize, Recipe
from edgec.target import load_target

omnimalloc = pytest.importorskip("omnimalloc")

CONFIGS = Path(__file__).parents[1] / "configs"
CONTEXT = 128
NEEDS_PACKAGE = {"genetic", "minimalloc"}  # other packages, which it does not bring along
SLOW = {"hill_climb", "simulated_annealing", "tabu_search"}  # 3 s for the 369 buffers of stories260K


def allocators() -> list[str]:
    return sorted(set(omnimalloc.available_allocators()) - NEEDS_PACKAGE)


def compare(pieces: list[Piece], offsets: list[int], names: list[str]) -> None:
    """Offsets are sound by omnimalloc's own check, and end no later than those of any allocator."""
    given = [omnimalloc.Allocation(i, p.size, p.start, p.end) for i, p in enumerate(pieces)]
    omnimalloc.validate_allocation([a.with_offset(o) for a, o in zip(given, offsets, strict=True)])
    ours = max(o + p.size for o, p in zip(offsets, pieces, strict=True))
    for name in names:
        theirs = omnimalloc.allocate(given, allocator=name)
        assert ours <= max(a.offset + a.size for a in theirs), name


def of_plan(plan: Plan, level: str) -> tuple[list[Piece], list[int]]:
    """All buffers of a level, one program's steps behind the other's, and where they lie."""
    found: list[tuple[Buffer, int, int]] = []
    begin = 0
    for program in plan.programs.values():
        found += [(b, begin + b.start, begin + b.end) for b in program.buffers if b.level == level]
        begin += len(program.steps)
    found += [(b, 0, begin) for b in plan.buffers if b.level == level and b.name != CALLS]  # behind what is placed
    pieces = [Piece(-(-b.size // ALIGN) * ALIGN, start, end) for b, start, end in found]
    return pieces, [b.offset for b, _, _ in found]


@pytest.fixture(scope="module")
def stories() -> Plan:
    """stories260K as it is built for Siracusa, with constants and cache in L1."""
    architecture, target = architecture_of(CONFIGS / "stories260k.json"), load_target("siracusa")
    recipe = Recipe(Quantize(bits=4), Build(context=CONTEXT))
    model = planned_model(architecture.config, architecture.extras, recipe)
    return plan_model(ready(model, target, CONTEXT), target, CONTEXT, recipe)[1]


@pytest.mark.parametrize("seed", range(12))
def test_random_pieces(seed: int) -> None:
    pieces = random_pieces(seed)
    compare(pieces, assign(pieces).offsets, allocators())


@pytest.mark.parametrize("level", ["L1", "TILE", "MRAM"])
def test_a_model_that_streams(tiny: tiny_models.Planned, level: str) -> None:
    pieces, offsets = of_plan(tiny.plan, level)
    assert len(pieces) > {"L1": 190, "TILE": 7, "MRAM": 20}[level]
    compare(pieces, offsets, allocators())


@pytest.mark.parametrize("level", ["L1", "MRAM"])
def test_stories260k(stories: Plan, level: str) -> None:
    pieces, offsets = of_plan(stories, level)
    assert len(pieces) > {"L1": 250, "MRAM": 15}[level]
    compare(pieces, offsets, [name for name in allocators() if name not in SLOW])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SLOW))
def test_stories260k_against_searches(stories: Plan, name: str) -> None:
    compare(*of_plan(stories, "L1"), [name])
