"""Steps copied from equal ones are the steps that planning each by itself gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import tiny_models

from edgec.cost.estimate import phases_usage
from edgec.memory import steps as planned
from edgec.memory.choices import ALL, Choices
from edgec.memory.plan import Buffer, Phase, Plan
from edgec.memory.planner import plan
from edgec.memory.repeat import Copied, copied
from edgec.memory.serialize import dump_plan, load_plan


@pytest.fixture
def chip(tmp_path: Path) -> Path:
    """A chip on which a tiny model streams its weights in several tiles."""
    file: Path = tiny_models.target_file(tmp_path / "small.toml", L1=12_000)
    return file


def made(chip: Path, choices: Choices = ALL) -> Plan:
    source = tiny_models.planned(tiny_models.checkpoint(tiny_models.config(n_layers=4)), chip)
    return plan(source.graphs, source.target, source.plan.context, choices)


def steps(made: Plan) -> list[Sequence[Phase]]:
    return [step.phases for program in made.programs.values() for step in program.steps]


@pytest.mark.parametrize("choices", [ALL, Choices(early_loads=False), Choices(compaction=False, near=False)])
def test_copies_are_what_planning_anew_gives(chip: Path, choices: Choices, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[object] = []

    def counted(*given: Any) -> tuple[Sequence[Phase], list[Buffer]]:
        copies.append(given)
        return copied(*given)

    monkeypatch.setattr(planned, "copied", counted)
    by_copies = made(chip, choices)
    assert len(copies) > len(by_copies.programs["decode"].steps) / 2
    numbers = count()
    monkeypatch.setattr(planned, "form", lambda *given: next(numbers))
    copies.clear()
    assert dump_plan(made(chip, choices)) == dump_plan(by_copies)
    assert not copies


def test_no_plan_that_fits_is_left_with_phases_to_be_made(chip: Path) -> None:
    for choices in (ALL, Choices(compaction=False)):
        assert all(isinstance(phases, tuple) for phases in steps(made(chip, choices)))


def test_a_copy_reads_like_the_tuple_of_its_phases(chip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Copied] = []

    def kept(*given: Any) -> tuple[Sequence[Phase], list[Buffer]]:
        phases, buffers = copied(*given)
        assert isinstance(phases, Copied)
        seen.append(phases)
        return phases, buffers

    monkeypatch.setattr(planned, "copied", kept)
    made(chip)
    phases = max(seen, key=len)
    whole = tuple(phases.moved(None))
    assert len(phases) == len(whole) > 2
    assert tuple(phases) == whole
    assert phases[-2:] == whole[-2:] and phases[1:2] == whole[1:2] and phases[0] == whole[0]
    further = phases.moved(lambda level, offset: offset + 16)
    assert [t.target.offset for p in further for t in p.transfers] == [
        t.target.offset + 16 for p in whole for t in p.transfers
    ]


def test_copies_of_a_plan_that_does_not_fit_stay_to_be_made(tmp_path: Path) -> None:
    """It is read, priced and written as if they were made."""
    short = tiny_models.target_file(tmp_path / "short.toml", L1=1500)
    whole = tiny_models.planned(tiny_models.checkpoint(tiny_models.config(n_layers=4)), short).plan
    assert whole.deficits()
    decode = whole.programs["decode"]
    copies = [step for step in decode.steps if isinstance(step.phases, Copied)]
    assert len(copies) > len(decode.steps) / 2
    assert load_plan(dump_plan(whole), whole.target).programs["decode"].steps == [
        replace(step, phases=tuple(step.phases)) for step in decode.steps
    ]
    for step in copies:
        assert phases_usage(whole.target, step.phases, 1, 9) == phases_usage(whole.target, tuple(step.phases), 1, 9)
