"""Buffers placed anew and loads moved forward: the plan stays sound, its time falls."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pytest
import tiny_models

from edgec.cost.estimate import program_usage
from edgec.memory import draft
from edgec.memory.check import PlanError, check
from edgec.memory.choices import Choices
from edgec.memory.compaction import compact, relocate
from edgec.memory.plan import Plan, Program
from edgec.memory.planner import plan
from edgec.memory.prefetch import find_early, prefetched

ALL = 1 << 60


def with_program(plan: Plan, program: Program) -> Plan:
    return Plan(plan.target, plan.context, plan.buffers, {program.name: program})


def test_buffers_may_live_longer(tiny: tiny_models.Planned) -> None:
    for program in tiny.plan.programs.values():
        claims = [replace(b, start=max(0, b.start - 1), end=b.end + 1) for b in program.buffers]
        longer = compact(program, tiny.plan.buffers, claims)
        check(with_program(tiny.plan, longer))
        assert [(b.name, b.start, b.end) for b in longer.buffers] == [(b.name, b.start, b.end) for b in claims]
        assert [s.node for s in longer.steps] == [s.node for s in program.steps]


def test_a_buffer_that_is_not_moved_along_is_found(tiny: tiny_models.Planned) -> None:
    program = tiny.plan.programs["decode"]
    moved = relocate(program, [replace(b, offset=b.offset + 4096) for b in program.buffers])
    check(with_program(tiny.plan, moved))
    with pytest.raises(PlanError, match="in no live buffer"):
        check(with_program(tiny.plan, replace(moved, buffers=program.buffers)))


def test_first_weights_come_during_the_step_before(tiny: tiny_models.Planned) -> None:
    alone = Choices(near=False, early_cache=False)
    early, late = (plan(tiny.graphs, tiny.target, 24, replace(alone, early_loads=on)) for on in (True, False))
    check(late)
    for name, program in early.programs.items():
        before, after = (program_usage(p, p.programs[name], 1, 5) for p in (late, early))
        assert after.cycles < before.cycles
        assert after.link_bytes == before.link_bytes
        assert any(b.end - b.start == 2 for b in program.buffers if b.kind in ("scratch", "stage"))


def test_nothing_comes_early_without_room(tiny: tiny_models.Planned) -> None:
    with patch.object(draft, "ROOM_TO_TRY", ()):
        late = plan(tiny.graphs, tiny.plan.target, tiny.plan.context)
    program = late.programs["decode"]
    rooms = {m.name: ALL for m in late.target.memories}
    some = find_early(program, late.buffers, late.target, late.context, rooms)
    assert some.early and some.buffers != program.buffers
    none = find_early(program, late.buffers, late.target, late.context, rooms | {"L1": 0})
    assert not none.early and none.buffers == program.buffers
    with pytest.raises(PlanError):  # a slot that does not live yet
        check(with_program(late, prefetched(program, some.early)))
