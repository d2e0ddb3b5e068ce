"""Rows of a table by position come once a run and stay; a plan without room for them loads them as before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_models

from edgec.cost.estimate import program_usage
from edgec.memory import draft
from edgec.memory.check import PlanError, check
from edgec.memory.choices import ALL, Choices
from edgec.memory.images import images
from edgec.memory.plan import Phase, Plan, Program, Region, Transfer
from edgec.memory.planner import plan
from edgec.memory.prefetch import Prefetch, find_early
from edgec.ops.sample import Sampling
from edgec.simulate.reference import ReferenceRunner
from edgec.simulate.simulator import Simulator

ROWS = "rope.table.rows"
AGAIN = replace(ALL, kept_rows=False)


def loads(program: Program) -> list[tuple[int, Transfer]]:
    """The steps that load rows of angles, each with its transfer from the table."""
    moves = ((s.index, t) for s in program.steps for p in s.phases for t in p.transfers)
    return [(step, t) for step, t in moves if t.source.value == "rope.table"]


def readers(program: Program) -> list[tuple[int, Region]]:
    """The steps that compute with angles, each with where it reads them."""
    calls = ((s.index, p.call) for s in program.steps for p in s.phases if p.call is not None)
    return [(step, r) for step, call in calls if (r := call.regions.get("table")) is not None]


def planned(made: tiny_models.Planned, choices: Choices = ALL) -> Plan:
    return plan(made.graphs, made.target, made.plan.context, choices)


def deep() -> tiny_models.Checkpoint:
    return tiny_models.checkpoint(tiny_models.config(n_layers=4))


@pytest.fixture(scope="module")
def four() -> tiny_models.Planned:
    return tiny_models.planned(deep())


def with_steps(made: Plan, name: str, change: dict[int, tuple[Phase, ...]]) -> Plan:
    program = made.programs[name]
    steps = [replace(s, phases=change.get(s.index, tuple(s.phases))) for s in program.steps]
    return replace(made, programs={**made.programs, name: replace(program, steps=steps)})


def test_each_run_loads_its_rows_once(four: tiny_models.Planned) -> None:
    check(four.plan)
    for program in four.plan.programs.values():
        assert [step for step, _ in loads(program)] == [0]
        assert len(readers(program)) >= 4
        (slot,) = (b for b in program.buffers if b.name == ROWS)
        assert (slot.level, slot.start, slot.end) == ("L1", 0, len(program.steps))
        assert {(r.value, r.offset) for _, r in readers(program)} == {(ROWS, slot.offset)}


def test_without_the_choice_every_layer_loads_them(four: tiny_models.Planned) -> None:
    before = planned(four, AGAIN)
    check(before)
    for name, program in before.programs.items():
        assert [step for step, _ in loads(program)] == [step for step, _ in readers(program)]
        slower, faster = (program_usage(p, p.programs[name], 1, 9) for p in (before, four.plan))
        assert faster.cycles < slower.cycles
        assert sum(faster.link_bytes.values()) < sum(slower.link_bytes.values())


@pytest.mark.parametrize("name", ["decode", "prefill"])
def test_rows_that_are_missing_are_noticed(four: tiny_models.Planned, name: str) -> None:
    first = four.plan.programs[name].steps[0]
    phases = tuple(
        replace(p, transfers=tuple(t for t in p.transfers if t.source.value != "rope.table")) for p in first.phases
    )
    with pytest.raises(PlanError, match=r"expects byte 0 of rope.table.rows"):
        check(with_steps(four.plan, name, {0: phases}))


def test_rows_that_are_overwritten_are_noticed(four: tiny_models.Planned) -> None:
    """Between two layers, by other rows: the next layer finds them."""
    program = four.plan.programs["decode"]
    (_, load), steps = loads(program)[0], [step for step, _ in readers(program)]
    other = next(b for b in four.plan.buffers if b.kind == "weight" and b.level == load.source.level and b.size >= 16)
    source = Region(other.level, other.offset, load.target.size, other.name)
    move = Transfer(load.link, source, replace(load.target, value=other.name), load.target.size, 1)
    between = steps[1] + 1
    phases = (*program.steps[between].phases, Phase((move,)))
    with pytest.raises(PlanError, match=rf"decode step {steps[2]} .* expects byte 0 of rope.table.rows"):
        check(with_steps(four.plan, "decode", {between: phases}))


def test_a_slot_that_ends_too_early_is_noticed(four: tiny_models.Planned) -> None:
    program = four.plan.programs["decode"]
    last = readers(program)[-1][0]
    buffers = [replace(b, end=last) if b.name == ROWS else b for b in program.buffers]
    changed = replace(four.plan, programs={**four.plan.programs, "decode": replace(program, buffers=buffers)})
    with pytest.raises(PlanError, match=rf"step {last} .*{ROWS}.* is in no live buffer"):
        check(changed)


def test_rows_carry_the_name_of_their_table(four: tiny_models.Planned) -> None:
    """Else one table's rows could stand for another's in a later step."""
    first = four.plan.programs["decode"].steps[0]

    def renamed(t: Transfer) -> Transfer:
        return replace(t, target=replace(t.target, value="rope_local.table.rows")) if t.start == "source_pos" else t

    phases = tuple(replace(p, transfers=tuple(map(renamed, p.transfers))) for p in first.phases)
    with pytest.raises(PlanError, match=r"rows of rope.table at the run's position become rope_local.table.rows"):
        check(with_steps(four.plan, "decode", {0: phases}))


@pytest.mark.parametrize("size", range(4096, 9216, 512))
def test_little_room_costs_nothing(tmp_path: Path, size: int) -> None:
    """Rows that stay never make a plan miss its memory or its early loads for more than they save."""
    chip = tiny_models.target_file(tmp_path / "small.toml", L1=size)
    made = tiny_models.planned(deep(), chip, tiny_models.recipe(chunk=16))
    with_rows, without = planned(made), planned(made, AGAIN)
    assert with_rows.deficits() == without.deficits()
    for name, program in with_rows.programs.items():
        at = (program.rows, made.plan.context - program.rows)
        cycles = [program_usage(p, p.programs[name], *at).cycles for p in (with_rows, without)]
        assert cycles[0] <= cycles[1], name
    if not with_rows.deficits():
        check(with_rows)


def test_a_plan_without_room_loads_them_again(four: tiny_models.Planned, tmp_path: Path) -> None:
    """At a size that is full to the byte beside the fullest step: at most what a plan takes that keeps nothing."""
    program = planned(four, replace(AGAIN, early_loads=False)).programs["decode"]
    used = max(b.offset + b.size for b in program.buffers if b.level == "L1") - four.target.reserved_bytes

    def with_room(size: int) -> Plan:
        chip = tiny_models.target_file(tmp_path / "exact.toml", L1=size)
        return tiny_models.planned(deep(), chip, tiny_models.recipe(chunk=1)).plan

    def again(made: Plan) -> bool:
        return any(len(loads(p)) == len(readers(p)) > 1 for p in made.programs.values())

    plans = (with_room(-(-used // 16) * 16 - less) for less in range(0, 1024, 32))
    full = next((made for made in plans if again(made)), None)
    assert full is not None and not full.deficits()
    check(full)


def test_rows_give_way_to_early_loads_that_save_more(
    four: tiny_models.Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they leave no room for first weights during the step before."""

    def refused(program: Program, *given: Any) -> Prefetch:
        stay = any(b.name == ROWS and b.end - b.start > 1 for b in program.buffers)
        return Prefetch({}, list(program.buffers), 1) if stay else find_early(program, *given)

    monkeypatch.setattr(draft, "find_early", refused)
    assert [len(loads(p)) for p in planned(four).programs.values()] == [4, 4]
    bare = replace(ALL, early_loads=False)
    assert [len(loads(p)) for p in planned(four, bare).programs.values()] == [1, 1]


def test_each_table_has_rows_of_its_own() -> None:
    """Layers with a window have other angles than the rest."""
    local = tuple(100.0 ** (-2 * i / 8) for i in range(4))
    config = tiny_models.config(n_layers=4, windows=(6, 0, 6, 0), local_inv_freq=local)
    made = tiny_models.planned(tiny_models.checkpoint(config)).plan
    check(made)
    for program in made.programs.values():
        moves = [t.source.value for p in program.steps[0].phases for t in p.transfers if t.start == "source_pos"]
        assert sorted(moves) == ["rope.table", "rope_local.table"]
        assert [r.value for _, r in readers(program)] == ["rope_local.table.rows", ROWS] * 2
        assert len({r.offset for _, r in readers(program)}) == 2


@pytest.mark.parametrize("numbers", [{}, {"MRAM": 256, "TILE": 256}], ids=["one hop", "two hops"])
def test_the_simulated_plan_gives_the_references_tokens(tmp_path: Path, numbers: dict[str, int]) -> None:
    made = tiny_models.planned(deep(), tiny_models.target_file(tmp_path / "chip.toml", **numbers))
    assert all(len(loads(p)) == 1 for p in made.plan.programs.values())
    assert loads(made.plan.programs["decode"])[0][1].source.level == ("L3" if numbers else "MRAM")
    data = images(made.plan, made.consts)
    early, late = Simulator(made.plan, data), Simulator(made.plan, data, late=True)
    assert story(early) == story(late) == story(ReferenceRunner(made.graphs, made.consts))


def story(runner: Any) -> list[int]:
    """Tokens behind a prompt of three runs."""
    runner.sampling(Sampling())
    tokens = [runner.prefill([(31 * i + 5) % 97 for i in range(11)])]
    while len(tokens) < 6:
        tokens.append(runner.decode(tokens[-1]))
    return tokens
