"""edgec report diff: figures of both sides, differences that add up, and nothing where nothing changed."""

from __future__ import annotations

import json
from dataclasses import replace

from click.testing import CliRunner

from edgec.cli import cli
from edgec.report.diff import changes, diff_text
from tests import tiny_models


def test_equal_reports_have_no_changes(planned):
    report = planned["siracusa"].report
    found = changes(report, report)
    assert len(found) > 30 and not any(c.changed for c in found)
    assert diff_text(("a", "b"), found) == "a and b report the same figures."


def test_differences_are_those_of_the_reports(planned):
    a, b = planned["siracusa"].report, planned["off_chip"].report
    found = {(c.section, c.name): c for c in changes(a, b)}
    assert found[("build", "verdict")].before == "fits_on_chip" and found[("build", "verdict")].difference is None
    used = {m.name: m.used for m in b.memory}
    assert found[("memory, B", "L3")].before is None and found[("memory, B", "L3")].after == used["L3"]
    assert found[("speed", "decode cycles")].difference == b.decode.cycles - a.decode.cycles
    assert sum(
        c.difference or 0 for (section, name), c in found.items() if section == "cycles" and "decode" in name
    ) == (b.decode.cycles - a.decode.cycles)
    text = diff_text(("a", "b"), list(found.values()))
    assert f"{b.decode.cycles - a.decode.cycles:+,}" in text and "figures are equal." in text
    assert len(diff_text(("a", "b"), list(found.values()), everything=True)) > len(text)


def test_quality_is_compared(planned):
    report = planned["siracusa"].report
    made = [replace(report, quality=({"text": "t", "perplexity_reference": p},)) for p in (6.0, 7.5)]
    (change,) = [c for c in changes(*made) if c.changed]
    assert change.section == "quality" and change.difference == 1.5


def test_the_command(tmp_path, objects):
    for kv in ("int8", "int4"):
        recipe = tiny_models.recipe()
        recipe = replace(recipe, build=replace(recipe.build, kv=kv))
        tiny_models.built(tiny_models.checkpoint(tiny_models.config()), tmp_path / kv, objects, made=recipe)
    paths = [str(tmp_path / kv) for kv in ("int8", "int4")]
    shown = CliRunner().invoke(cli, ["report", "diff", *paths])
    assert shown.exit_code == 0 and "cache, B per token" in shown.output
    rows = json.loads(CliRunner().invoke(cli, ["report", "diff", *paths, "--json"]).output)
    assert any(row["name"] == "cache, B per token" and row["after"] < row["before"] for row in rows)
    assert (
        CliRunner().invoke(cli, ["report", paths[0]]).output
        == CliRunner().invoke(cli, ["report", "show", paths[0]]).output
    )
