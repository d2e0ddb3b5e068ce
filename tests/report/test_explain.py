"""--explain: each decision left out costs what the plan without it says, and nothing is claimed for free."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import tiny_models
from click.testing import CliRunner

from edgec.cli import cli
from edgec.cost.estimate import program_usage
from edgec.memory.check import check
from edgec.memory.choices import Choices
from edgec.memory.planner import plan
from edgec.report.explain import NAMES, effects, effects_text


def test_every_choice_is_explained_and_every_plan_is_sound(tiny: tiny_models.Planned) -> None:
    found = {e.name: e for e in effects(tiny.graphs, tiny.plan)}
    assert list(found) == ["as planned", *(f.name for f in fields(Choices))]
    assert set(NAMES) == {f.name for f in fields(Choices)}
    whole = found["as planned"]
    for name in NAMES:
        without = plan(tiny.graphs, tiny.plan.target, tiny.plan.context, replace(Choices(), **{name: False}))
        if not without.deficits():
            check(without)
        decode = program_usage(without, without.programs["decode"], 1, tiny.plan.context - 1).cycles
        assert found[name].decode_cycles == decode
        assert found[name].fits == (not without.deficits())
    assert found["early_loads"].decode_cycles > whole.decode_cycles
    assert found["tiling"].decode_cycles >= whole.decode_cycles
    assert found["in_place"].compute_bytes >= whole.compute_bytes


def test_text_names_what_is_lost(tiny: tiny_models.Planned) -> None:
    text = effects_text(effects(tiny.graphs, tiny.plan), "L1")
    assert "loads a step earlier" in text and "%" in text
    assert all(len(line) <= 100 for line in text.splitlines())


@pytest.mark.parametrize(
    "command", [("build", "--explain", "--json"), ("plan", "--config", "x", "--explain", "--format", "csv")]
)
def test_explain_is_text(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, list(command))
    assert result.exit_code == 2 and "--explain" in result.output
