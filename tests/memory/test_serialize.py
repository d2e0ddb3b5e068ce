"""plan.json: back and forth, byte for byte; what is not a plan is refused in a sentence."""

from __future__ import annotations

import json

import pytest
import tiny_models

from edgec.errors import OutputError
from edgec.memory.serialize import dump_plan, load_plan
from edgec.target import load_target


def test_round_trip(tiny: tiny_models.Planned) -> None:
    text = dump_plan(tiny.plan)
    back = load_plan(text, tiny.target)
    assert back.buffers == tiny.plan.buffers
    assert back.programs == tiny.plan.programs
    assert (back.context, back.target) == (tiny.plan.context, tiny.target)
    assert dump_plan(back) == text


def test_calls_of_a_prompt_are_for_any_number_of_rows(tiny: tiny_models.Planned) -> None:
    """Those of its last row too: the kernels are the same. A plan that was read back predicts what it did."""
    for plan in (tiny.plan, load_plan(dump_plan(tiny.plan), tiny.target)):
        for name, program in plan.programs.items():
            calls = [p.call for step in program.steps for p in step.phases if p.call is not None]
            assert {call.any_rows for call in calls} == {name == "prefill"}


def test_another_target_is_refused(tiny: tiny_models.Planned) -> None:
    with pytest.raises(OutputError, match="for target siracusa"):
        load_plan(dump_plan(tiny.plan), load_target("host"))


@pytest.mark.parametrize("cut", [0, 1, 100, 5000])
def test_a_cut_file_is_refused(tiny: tiny_models.Planned, cut: int) -> None:
    with pytest.raises(OutputError) as caught:
        load_plan(dump_plan(tiny.plan)[:cut], tiny.target)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["format", "target", "context", "buffers", "programs", "strings"])
@pytest.mark.parametrize("wrong", ["missing", None, 7, "x", [[]]])
def test_a_damaged_key_is_refused(tiny: tiny_models.Planned, key: str, wrong: object) -> None:
    document = json.loads(dump_plan(tiny.plan))
    if wrong == "missing":
        del document[key]
    else:
        document[key] = wrong
    if (key, wrong) == ("context", 7):
        return  # an integer is what it must be
    with pytest.raises(OutputError):
        load_plan(json.dumps(document), tiny.target)
