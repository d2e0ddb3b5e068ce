"""`edgec compare`: only equal protocols, differences to the first, a plot that is the same bytes twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgec.cli import cli
from edgec.errors import EdgecError
from edgec.evaluate.compare import compare
from edgec.evaluate.result import Evaluation, store
from edgec.report.quality_plot import Point, quality_plot


def put(folder: Path, value: float, task: str = "perplexity", **protocol: Any) -> Path:
    folder.mkdir(exist_ok=True)
    shared = {"text": "t.txt", "windows": 20, "arithmetic": "float32"} | protocol
    size = {"name": folder.name, "parameters": 1000, "bytes": int(1e6 * len(folder.name))}
    metrics = {"bits_per_byte": 1.0, "perplexity": value}  # stored files sort their keys
    store(folder, Evaluation(task, metrics, shared, size, 1.0))
    return folder


def test_equal_protocols_are_compared_whatever_computed_them(tmp_path: Path) -> None:
    a, b = put(tmp_path / "dense", 35.88), put(tmp_path / "int4", 39.7, arithmetic="the reference")
    put(tmp_path / "int4", 12.0, windows=3)
    found = compare([a, b])
    assert [(r.name, r.value, r.arithmetic) for r in found.rows] == [
        ("dense", 35.88, "float32"),
        ("int4", 39.7, "the reference"),
    ]
    result = CliRunner().invoke(cli, ["compare", str(a), str(b)])
    assert result.exit_code == 0 and "+3.82" in result.output and "windows 20" in result.output
    shown = json.loads(CliRunner().invoke(cli, ["compare", str(a), str(b), "--json"]).output)
    assert shown["metric"] == "perplexity" and len(shown["rows"]) == 2


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    a, b = put(tmp_path / "a", 1.0), put(tmp_path / "b", 1.0, windows=7)
    with pytest.raises(EdgecError, match="same protocol"):
        compare([a, b])
    (tmp_path / "c").mkdir()
    with pytest.raises(EdgecError, match="run edgec evaluate"):
        compare([a, tmp_path / "c"])
    with pytest.raises(EdgecError, match="of bits-per-byte"):
        compare([a], "bits-per-byte")


def test_the_plot_is_the_same_twice(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    points = [Point("int4", 80e6, 39.7), Point("int8", 140e6, 36.1), Point("dense", 270e6, 35.88)]
    for name in ("a.png", "b.png", "c.svg"):
        quality_plot(points, "perplexity", tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG" and b"int8" in (tmp_path / "c.svg").read_bytes()


def test_bits_per_byte_compare_across_vocabularies(tmp_path: Path) -> None:
    """Models may cut the same bytes into tokens of their own; a token's perplexity then says nothing."""
    a = put(tmp_path / "whole", 1.0, "bits-per-byte", bytes=4000, tokens=900, windows=2)
    b = put(tmp_path / "trimmed", 1.0, "bits-per-byte", bytes=4000, tokens=950, windows=3)
    found = compare([a, b])
    assert found.metric == "bits_per_byte" and found.protocol == {"text": "t.txt", "bytes": 4000}
    for folder, tokens in ((a, 900), (b, 950)):
        put(folder, 1.0, tokens=tokens)
    with pytest.raises(EdgecError, match="same protocol"):
        compare([a, b], "perplexity")
    c = put(tmp_path / "other", 1.0, "bits-per-byte", bytes=3000, tokens=900, windows=2)
    with pytest.raises(EdgecError, match="same protocol"):
        compare([a, c], "bits-per-byte")
