"""Arguments are rows of tables, each call's own, and only where there is room; what the position changes is written."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import tiny_models

from edgec.emit.call_blocks import CallBlocks
from edgec.emit.model_c import model_c
from edgec.emit.phase_text import phase_text
from edgec.memory.call_tables import CALLS, WORD, calls_buffer, calls_bytes, tabled_call, written
from edgec.memory.plan import Extent, Phase, Plan, Position, Step
from edgec.memory.planner import add_calls
from edgec.ops import kernel
from edgec.target import load_target


@pytest.fixture
def plan(tiny: tiny_models.Planned) -> Plan:
    target = replace(tiny.plan.target, accelerators=load_target("siracusa").accelerators)
    assert target.runtime.hal and target.read_ahead_bytes
    return replace(tiny.plan, target=target, buffers=[b for b in tiny.plan.buffers if b.name != CALLS])


def steps(plan: Plan) -> list[Step]:
    return [step for program in plan.programs.values() for step in program.steps]


def test_each_call_has_a_row_of_its_own(plan: Plan) -> None:
    blocks = CallBlocks()
    calls = [call for step in steps(plan) if (call := tabled_call(step)) is not None]
    fixed = [call for call in calls if not written(call)]
    assert len(fixed) > 5
    for call in [*fixed, *fixed]:
        (row,) = phase_text(Phase((), call), blocks).integers
        text = list(blocks.tables[call.kernel])[row]
        for p in kernel(call.kernel).params:
            found = re.search(rf"\.{p.name} = (.*),", text)
            assert found
            if p.kind == "u32":
                assert found[1] == f"{call.numbers[p.name]}u"
            elif p.is_pointer:
                region = call.regions[p.name]
                assert found[1].endswith(f"+ {region.offset}u)" if region else "NULL")
    rows = [(name, row) for name, table in blocks.tables.items() for row in table]
    assert len(rows) <= len(fixed)  # twice the same call is one row
    assert calls_bytes(plan) == sum(WORD * len(kernel(call.kernel).params) for call in calls)


def test_what_a_run_changes_is_no_row(plan: Plan) -> None:
    varying = [
        step
        for step in steps(plan)
        for phase in step.phases
        if phase.call and any(isinstance(n, Extent) for n in phase.call.numbers.values())
    ]
    assert varying and not any(tabled_call(step) for step in varying)
    step = next(step for step in steps(plan) if tabled_call(step))
    phase = next(phase for phase in step.phases if phase.call)
    assert phase.call is not None and tabled_call(replace(step, phases=(Phase(()), phase)))
    name, region = next((n, r) for n, r in phase.call.regions.items() if r is not None)
    for other in ((replace(phase, when=Extent(1, 0, 1)),), (phase, phase)):
        assert tabled_call(replace(step, phases=other)) is None
    assert written(phase.call) == ()
    moved = replace(phase.call, regions={**phase.call.regions, name: replace(region, row_bytes=4)})
    assert tabled_call(replace(step, phases=(replace(phase, call=moved),))) and written(moved) == (name,)


def test_what_the_position_changes_is_written_before_the_call(plan: Plan) -> None:
    call = next(call for step in steps(plan) if (call := tabled_call(step)) is not None)
    number = next(p.name for p in kernel(call.kernel).params if p.kind == "u32")
    name, region = next((n, r) for n, r in call.regions.items() if r is not None)
    moved = replace(
        call,
        regions={**call.regions, name: replace(region, row_bytes=12)},
        numbers={**call.numbers, number: Position(3)},
    )
    assert set(written(moved)) == {name, number}
    blocks = CallBlocks()
    before, _, _ = phase_text(Phase((), moved), blocks).render().partition(f"edgec_{call.kernel}(")
    assert f"{call.kernel}_calls[0u].{number} = r->pos + 3u;" in before
    assert re.search(rf"{call.kernel}_calls\[0u\]\.{name} = \(.*\)\(.* \+ {region.offset}u \+ r->pos \* 12u\);", before)
    (row,) = blocks.tables[call.kernel]
    assert f".{name} = " not in row and f".{number} = " not in row


def test_tables_need_room(plan: Plan) -> None:
    size, level = calls_bytes(plan), plan.target.compute
    assert "_calls" not in model_c(plan, "t")
    full = replace(plan, buffers=[*plan.buffers])
    add_calls(full, CALLS, full.target.memory_by_name[level].capacity_bytes)
    assert calls_buffer(full) is None
    add_calls(plan, CALLS, size)
    table = next(b for b in plan.buffers if b.name == CALLS)
    assert (table.level, table.size) == (level, size)
    assert table.offset >= plan.arena_bytes(level) + plan.target.read_ahead_bytes
    text = model_c(plan, "t")
    tables = re.findall(r"HAL_NEAR static edgec_(\w+)_args \w+_calls\[\]", text)
    assert set(tables) == {call.kernel for step in steps(plan) if (call := tabled_call(step)) is not None}


def test_none_where_the_program_is_not_the_chips_own(plan: Plan) -> None:
    target = replace(plan.target, runtime=replace(plan.target.runtime, hal=""))
    assert calls_bytes(replace(plan, target=target)) == 0
