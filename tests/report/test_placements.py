"""How memories were placed: methods, proofs and gaps as the searches told them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import tiny_models

from edgec.memory.offsets import Placed
from edgec.memory.plan import Plan
from edgec.memory.serialize import dump_plan, load_plan
from edgec.report.placements import placement_words, placements


@pytest.fixture(scope="module")
def plan() -> Plan:
    made: Plan = tiny_models.planned(tiny_models.checkpoint(tiny_models.config())).plan
    return made


def told(plan: Plan, **changes: Any) -> Plan:
    """Decoding alone, whose search says something else of the compute memory; its bound lies `below` bytes lower."""
    decode = plan.programs["decode"]
    level, alone = plan.target.compute, replace(plan, programs={"decode": decode})
    peak = alone.arena_bytes(level)
    below = changes.pop("below", 0)
    placed = replace(Placed([], peak, peak - below, "greedy"), **changes)
    return replace(alone, programs={"decode": replace(decode, how={level: placed})})


def test_every_memory_in_use_is_named_and_its_gap_is_that_of_the_report(plan: Plan) -> None:
    found = {p["memory"]: p for p in placements(plan)}
    assert set(found) == {m.name for m in plan.target.memories if plan.arena_bytes(m.name)}
    compute = found[plan.target.compute]
    assert compute["method"] in ("greedy", "mended")
    assert compute["gap"] == plan.arena_bytes(plan.target.compute) - compute["bound"]
    assert compute["proven"] == (compute["gap"] == 0)
    others = [p for name, p in found.items() if not any(name in q.how for q in plan.programs.values())]
    assert others and all(p["method"] == "first fit" for p in others)


def test_a_plan_from_a_file_claims_no_search(plan: Plan) -> None:
    again = load_plan(dump_plan(plan), plan.target)
    assert all(p["method"] == "first fit" for p in placements(again))
    assert again == plan


def test_the_solvers_bound_and_word_are_told(plan: Plan) -> None:
    unsure = told(plan, below=1_600, method="cp-sat", solver="limit", solver_seconds=3.0)
    (found,) = [p for p in placements(unsure) if p["memory"] == plan.target.compute]
    peak = unsure.arena_bytes(plan.target.compute)
    assert (found["bound"], found["gap"], found["proven"]) == (peak - 1_600, 1_600, False)
    assert placement_words([found]) == "L1 by CP-SAT (stopped at its limit, 3 s), 1,600 B above the bound"
    sure = told(plan, method="cp-sat", solver="optimal", solver_seconds=0.25)
    (found,) = [p for p in placements(sure) if p["memory"] == plan.target.compute]
    assert found["proven"] and found["gap"] == 0
    assert placement_words([found]) == "L1 by CP-SAT (proves its groups, 0.25 s), proven best"
