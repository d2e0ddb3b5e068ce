"""The table of layers: every byte of weights and every cycle of a token once, and the errors that are known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgec.report.layer_table import layer_cells, part_of
from edgec.report.layers import layer_errors
from edgec.report.page import page
from edgec.report.report import make_report
from edgec.report.text import plain_text

NAMES = ("host", "siracusa", "off_chip", "tiny_l1", "tiny_all", "tiny_kv")
UP = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize("name", NAMES)
def test_parts_add_up(planned, name):
    report = planned[name].report
    assert [c.name for c in report.layers] == ["embedding", "layer 0", "layer 1", "head"]
    assert sum(c.weight_bytes for c in report.layers) == report.model["weight_bytes"]
    assert sum(c.cycles for c in report.layers) == report.decode.cycles
    assert sum(c.share for c in report.layers) == pytest.approx(1, abs=1e-5)


def test_a_tied_matrix_weighs_at_the_embedding_and_is_multiplied_at_the_head(planned):
    report = planned["siracusa"].report
    embedding, first, second, head = report.layers
    assert first.weight_bytes == second.weight_bytes > head.weight_bytes == 32 * 4  # the final norm alone
    table = (s for s in report.steps["decode"] if s.source == "model.embed_tokens" and s.op != "embed")
    assert head.cycles > sum(s.cycles for s in table) > embedding.cycles


def test_errors_are_the_builds_unless_a_stage_measured_them(planned, quantized):
    meta, graphs, plan, report = planned["siracusa"]
    embedding, _, second, head = report.layers
    assert embedding.rounding_error == pytest.approx(quantized.errors["model.embed_tokens.weight"], abs=1e-6)
    own = [e for name, e in quantized.errors.items() if name.startswith("model.layers.1.")]
    assert second.rounding_error == pytest.approx(sum(own) / len(own), abs=1e-6)
    assert head.rounding_error is None
    stages = [{"method": "quantize", "notes": {"errors": {UP: 0.25}}}]
    measured = make_report(meta | {"stages": stages}, plan, graphs, {}).layers
    assert [c.rounding_error for c in measured] == [None, None, 0.25, None]
    heading, *rows = layer_cells(measured, layer_errors(stages, {}))
    assert heading[-1] == "outputs' power lost" and rows[2][-1] == "0.25" and rows[0][-1] == "-"


def test_without_errors_there_is_no_column_of_them(planned):
    bare = [replace(c, rounding_error=None) for c in planned["host"].report.layers]
    assert {len(row) for row in layer_cells(bare, None)} == {4}


def test_names_are_told_from_layers_that_begin_alike():
    assert part_of("model.layers.12.mlp.", False) == "layer 12" and part_of("model.layers.1.mlp.", False) == "layer 1"
    assert part_of("model.norm.", False) == "head" and part_of("model.embed_tokens.", True) == "embedding"


def test_text_and_page_show_it(planned):
    report = planned["siracusa"].report
    for shown in (plain_text(report), page(report)):
        assert "Layer by layer" in shown and "layer 1" in shown
    assert f"<td>layer 1</td><td>{report.layers[2].weight_bytes:,}</td>" in page(report)
