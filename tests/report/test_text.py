"""The report as text: the verdict first, 80 columns, no colour in files, nothing lost."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgec.report.report import make_report
from edgec.report.text import plain_text, render

NAMES = ("host", "siracusa", "off_chip", "tiny_l1", "tiny_all", "tiny_kv")


@pytest.mark.parametrize("name", NAMES)
def test_fits_80_columns_without_colour_or_lost_digits(planned, name):
    text = plain_text(planned[name].report)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text and "…" not in text and "/home" not in text
    for m in planned[name].report.memory:
        assert f"{m.headroom:+,}" in text


def test_verdicts_come_first_with_their_numbers(planned):
    fits, off, short = (plain_text(planned[n].report).splitlines()[1] for n in ("siracusa", "off_chip", "tiny_l1"))
    assert fits.startswith("Fits on chip: L1 is tightest with")
    assert off.startswith("Needs off-chip memory: ") and "B lie in L3" in off
    holds = planned["tiny_l1"].plan.target.memory_by_name["L1"].capacity_bytes
    assert short.startswith(f"Does not fit: L1 of siracusa holds {holds:,} B, this plan needs ")


def test_deficits_name_their_users(planned):
    report = planned["tiny_all"].report
    text = plain_text(report)
    for deficit in report.deficits:
        assert f"{deficit.memory} lacks {deficit.bytes:,} B" in text
        assert all(user.name in text for user in deficit.largest)


def test_the_program_has_its_levels(planned):
    meta, graphs, plan, _ = planned["siracusa"]
    sizes = {"code_bytes": 62_616, "code_level": "TILE", "data_bytes": 3096, "data_level": "L2"}
    sizes |= {"stack_bytes": 7424, "stack_level": "L1"}
    text = plain_text(make_report(meta | {"program": sizes}, plan, graphs, {}))
    assert "program: 62,616 B code in TILE, 3,096 B data in L2, 7,424 B stacks in L1" in text


def test_verification_lines(planned, verification):
    meta, graphs, plan, report = planned["siracusa"]
    assert "not verified yet: run edgec verify OUT" in plain_text(report)
    assert "nothing to verify" in plain_text(planned["tiny_l1"].report)
    text = plain_text(make_report(meta, plan, graphs, verification))
    assert "host: 12 tensors compared, no mismatch" in text
    assert "rv32: 1 of 3 tensors differ, first: value l0.q, source model.layers.0" in text
    assert "float: skipped, model does not exist." in text
    assert "float vs reference on passage.txt: perplexity float 4.5" in text


def test_terminals_without_unicode_get_plain_bars(planned):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    render(planned["siracusa"].report, Console(file=stream, width=80))
    stream.flush()


def test_terminals_get_colour(planned):
    stream = io.StringIO()
    render(planned["siracusa"].report, Console(file=stream, width=80, force_terminal=True, color_system="standard"))
    assert "\x1b[" in stream.getvalue()
