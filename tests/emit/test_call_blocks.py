"""Arguments are rows of tables, each call's own, and only where there is room; what the position changes is written."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import tiny_models

from edgec.emit.model_c import model_c
from edgec.emit.phase_text import Words, arguments_text, direct_ends, phase_text
from edgec.ir.graph import Graph
from edgec.memory.call_tables import CALLS, ENTRY, WORD, calls_buffer, calls_bytes, tabled_call, written
from edgec.memory.plan import Call, Extent, Phase, Plan, Position, Program, Region, Step, Transfer
from edgec.memory.planner import plan as make_plan
from edgec.ops import kernel
from edgec.target import Target, load_target

TABLED = Words(tabled=True)


@pytest.fixture(scope="module")
def made() -> tiny_models.Planned:
    """A model for the whole chip: a small one has no room."""
    return tiny_models.planned(tiny_models.checkpoint(tiny_models.config()))


@pytest.fixture
def plan(made: tiny_models.Planned) -> Plan:
    target = replace(made.target, accelerators=load_target("siracusa").accelerators)
    assert target.runtime.hal and target.read_ahead_bytes
    return make_plan(made.graphs, target, made.plan.context)


def steps(plan: Plan) -> list[tuple[Program, Step]]:
    return [(program, step) for program in plan.programs.values() for step in program.steps]


def tabled(plan: Plan) -> list[Call]:
    return [call for program, step in steps(plan) if (call := tabled_call(program, step)) is not None]


def test_each_call_of_a_token_has_a_row(plan: Plan) -> None:
    calls = tabled(plan)
    assert len(calls) > 5
    for call in calls:
        text = arguments_text(call)
        for p in kernel(call.kernel).params:
            found = re.search(rf"\.{p.name} = (.*),", text)
            assert bool(found) == (p.name not in written(call))
            if found and p.kind == "u32":
                assert found[1] == f"{call.numbers[p.name]}u"
            elif found and p.is_pointer:
                region = call.regions[p.name]
                assert found[1].endswith(f"+ {region.offset}u)" if region else "NULL")


def test_tables_and_the_list_of_steps_have_their_place_in_the_plan(plan: Plan) -> None:
    table = calls_buffer(plan)
    level = plan.target.compute
    assert table is not None and table.level == level
    assert table.offset >= plan.arena_bytes(level) + plan.target.read_ahead_bytes
    program = plan.programs["decode"]
    used = ENTRY * len(program.steps) + sum(WORD * len(kernel(call.kernel).params) for call in tabled(plan))
    assert used <= table.size
    text = model_c(plan, "t")
    tables = re.findall(r"HAL_NEAR static edgec_(\w+)_args \w+_calls\[\]", text)
    assert set(tables) == {call.kernel for call in tabled(plan)}
    listed = text.partition("HAL_NEAR static step decode_steps[] = {")[2].partition("};")[0].splitlines()[1:]
    assert len(listed) == len(program.steps)
    for line, step in zip(listed, program.steps, strict=True):
        call = tabled_call(program, step)
        assert f", {call.kernel}_calls + " in line if call else ", NULL}" in line
    assert "static const step prefill_steps[]" in text
    assert "_calls" not in model_c(replace(plan, buffers=[b for b in plan.buffers if b.name != CALLS]), "t")


def test_what_a_run_changes_is_no_row(plan: Plan) -> None:
    varying = [
        (program, step)
        for program, step in steps(plan)
        for phase in step.phases
        if phase.call and any(isinstance(n, Extent) for n in phase.call.numbers.values())
    ]
    assert varying and not any(tabled_call(*each) for each in varying)
    program, step = next(each for each in steps(plan) if tabled_call(*each))
    phase = next(phase for phase in step.phases if phase.call)
    assert phase.call is not None and tabled_call(program, replace(step, phases=(Phase(()), phase)))
    assert tabled_call(replace(program, name="prefill"), step) is None
    name, region = next((n, r) for n, r in phase.call.regions.items() if r is not None)
    for other in ((replace(phase, when=Extent(1, 0, 1)),), (phase, phase)):
        assert tabled_call(program, replace(step, phases=other)) is None
    assert written(phase.call) == ()
    moved = replace(phase.call, regions={**phase.call.regions, name: replace(region, row_bytes=4)})
    assert tabled_call(program, replace(step, phases=(replace(phase, call=moved),))) and written(moved) == (name,)


def test_what_the_position_changes_is_written_before_the_call(plan: Plan) -> None:
    call = tabled(plan)[0]
    number = next(p.name for p in kernel(call.kernel).params if p.kind == "u32")
    name, region = next((n, r) for n, r in call.regions.items() if r is not None)
    moved = replace(
        call,
        regions={**call.regions, name: replace(region, row_bytes=12)},
        numbers={**call.numbers, number: Position(3)},
    )
    assert set(written(moved)) == {name, number}
    before, _, _ = phase_text(Phase((), moved), TABLED).render().partition(f"edgec_{call.kernel}(")
    assert f"a->{number} = r->pos + 3u;" in before
    assert re.search(rf"a->{name} = \(.*\)\(.* \+ {region.offset}u \+ r->pos \* 12u\);", before)
    row = arguments_text(moved)
    assert f".{name} = " not in row and f".{number} = " not in row


def test_the_rest_of_a_plan_goes_first(made: tiny_models.Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, size = made.target, calls_bytes(made.graphs, made.target)
    monkeypatch.setattr("edgec.memory.call_tables.SHARE", 1)

    def planned(capacity: int) -> Plan:
        memories = (replace(m, capacity_bytes=capacity) if m.name == whole.compute else m for m in whole.memories)
        return make_plan(made.graphs, replace(whole, memories=tuple(memories)), made.plan.context)

    least = next(c for c in range(whole.reserved_bytes, 1 << 18, 512) if not planned(c).deficits())
    assert calls_buffer(planned(least)) is None
    assert calls_buffer(planned(least + size + 512))


def test_none_where_they_are_of_no_use(made: tiny_models.Planned) -> None:
    def size(graphs: dict[str, Graph], target: Target) -> int:
        return calls_bytes(graphs, target)

    graphs, target = dict(made.graphs), made.target
    assert size(graphs, target) > 0
    assert size(graphs, replace(target, runtime=replace(target.runtime, hal=""))) == 0
    assert size({"prefill": graphs["prefill"]}, target) == 0
    small = (replace(m, capacity_bytes=8192) if m.name == target.compute else m for m in target.memories)
    assert size(graphs, replace(target, memories=tuple(small))) == 0


@pytest.mark.parametrize(
    ("source", "target", "start"),
    [("TILE", "L1", "hal_dma_into(edgec_l1 + 16u, edgec_tile + 32u, 8u);"),
     ("L1", "TILE", "hal_dma_out_of(edgec_l1 + 32u, edgec_tile + 16u, 8u);"),
     ("L3", "L2", "hal_dma_start(edgec_l2 + 16u, edgec_l3 + 32u, 8u);")],
)  # fmt: skip
def test_core_0_starts_transfers_of_the_compute_memory_in_place(source: str, target: str, start: str) -> None:
    chip = load_target("siracusa")
    words = Words(compute=chip.compute, direct=direct_ends(chip))
    transfer = Transfer("x", Region(source, 32, 8, "x"), Region(target, 16, 8, "x"), 4, 2)
    text = phase_text(Phase((transfer,)), words).render()
    assert start in text
    assert ("hal_dma_end();" in text) == ("L1" in (source, target))
    assert "hal_dma_start(" in phase_text(Phase((transfer,)), Words()).render()
    some = phase_text(Phase((replace(transfer, rows=Extent(1, 0, 4, 0)),)), words).render()
    way = {("TILE", "L1"): "copy_rows_into", ("L1", "TILE"): "copy_rows_out_of"}.get((source, target), "copy_rows")
    assert f"{way}{start[start.index('(') :].removesuffix(', 8u);')}" in some


def test_a_token_sees_all_positions_so_far() -> None:
    seen = Extent(1, 0, 64, 1, True)
    transfer = Transfer("x", Region("TILE", 32, 256, "x"), Region("L1", 16, 256, "x"), 4, seen)
    assert "(r->pos + 1u) * 4u" in phase_text(Phase((transfer,)), Words(context=64)).render()
    for other in (Words(), Words(context=65)):
        assert "copy_rows(" in phase_text(Phase((transfer,)), other).render()
    later = replace(transfer, rows=replace(seen, first=1))
    assert "copy_rows(" in phase_text(Phase((later,)), Words(context=64)).render()
