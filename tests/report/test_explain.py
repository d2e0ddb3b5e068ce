"""--explain: each decision left out costs what the plan without it says, and nothing is claimed for free."""

from __future__ import annotations

import io
from dataclasses import fields

import tiny_models
from rich.console import Console

from edgec.cost.estimate import program_usage
from edgec.memory.check import check
from edgec.memory.choices import Choices
from edgec.planning import without
from edgec.report.blocks import section
from edgec.report.explain import NAMES, effects, effects_table


def test_every_choice_is_explained_and_every_plan_is_sound(tiny: tiny_models.Planned) -> None:
    found = {e["without"]: e for e in effects(tiny.model, tiny.plan)}
    assert list(found) == ["", *(f.name for f in fields(Choices))]
    assert set(NAMES) == {f.name for f in fields(Choices)}
    whole = found[""]
    for name in NAMES:
        made = without(name, tiny.model, tiny.plan)
        if not made.deficits():
            check(made)
        decode = program_usage(made, made.programs["decode"], 1, tiny.plan.context - 1).cycles
        assert found[name]["decode_cycles"] == round(decode)
        assert found[name]["fits"] == (not made.deficits())
    for name in ("early_loads", "join", "norm_quantize", "residual"):
        assert found[name]["decode_cycles"] > whole["decode_cycles"], name
    assert found["tiling"]["decode_cycles"] >= whole["decode_cycles"]
    assert found["in_place"]["compute_bytes"] >= whole["compute_bytes"]


def test_fusions_leave_fewer_steps(tiny: tiny_models.Planned) -> None:
    steps = {name: len(without(name, tiny.model, tiny.plan).programs["decode"].steps) for name in NAMES}
    layers, whole = tiny.model.config.n_layers, len(tiny.plan.programs["decode"].steps)
    assert steps["join"] == whole + 5 * layers  # k, v and up; what rotates and what appends are not one call then
    assert steps["norm_quantize"] == whole + 2 * layers + 1
    assert steps["silu_quantize"] == whole + layers
    assert steps["rope_append"] == whole + 2 * layers
    assert steps["residual"] == whole + 2 * layers


def test_text_names_what_is_lost(tiny: tiny_models.Planned) -> None:
    stream = io.StringIO()
    section(Console(file=stream, width=80, color_system=None), "x", effects_table(effects(tiny.model, tiny.plan), "L1"))
    assert "loads a step earlier" in stream.getvalue() and "%" in stream.getvalue()
    assert "…" not in stream.getvalue()
