"""The HTML page: valid figures, every buffer drawn, nothing fetched, names that are markup stay text."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

import plotly.graph_objects as go
import pytest

from edgec.report import charts
from edgec.report.page import figures_of, page
from edgec.report.report import make_report
from edgec.report.steps import chrome_trace, steps_csv

NAMES = ("host", "siracusa", "off_chip", "tiny_l1", "tiny_all", "tiny_kv")
LIMIT = 5_000_000  # bytes of a page
STAGES = [
    {"method": "dense", "parameters": 9, "nonzero": 9, "bytes": 4000, "block_bits_per_weight": 16, "seconds": None}
    | {"quality": {"perplexity": 30.0}},
    {"method": "depth", "blocks": 1, "parameters": 8, "nonzero": 8, "bytes": 3000, "block_bits_per_weight": 16}
    | {"quality": {"perplexity": 35.5}, "seconds": 3.0},
]


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_plotlys(planned, name):
    report = planned[name].report
    figures = figures_of(report)
    for figure in figures.values():
        go.Figure(figure)  # raises for an unknown key or an impossible value
    json.dumps(figures)
    assert {f"map-{m.name}" for m in report.memory if m.used} <= figures.keys()


@pytest.mark.parametrize("name", NAMES)
def test_every_buffer_is_drawn_once_where_it_lies(planned, name):
    report = planned[name].report
    for memory in report.memory:
        figure = charts.memory_map(report, memory)
        for axis, program in enumerate(report.steps):
            key = f"x{axis + 1 if axis else ''}"
            drawn = {
                (t["base"][i], t["base"][i] + t["y"][i], t["x"][i] - t["width"][i] / 2, t["x"][i] + t["width"][i] / 2)
                for t in figure["data"]
                if t["xaxis"] == key
                for i in range(len(t["x"]))
            }
            steps = len(report.steps[program])
            wanted = {
                (
                    b.offset,
                    b.offset + b.size,
                    (b.start if b.program else 0) - 0.5,
                    (b.end if b.program else steps) - 0.5,
                )
                for b in report.buffers
                if b.level == memory.name and b.program in ("", program)
            }
            assert drawn == wanted
        if memory.peak:
            (line,) = [s for s in figure["layout"]["shapes"] if s.get("xref", "paper") != "paper"]
            assert line["x0"] == memory.peak.step
            (label,) = figure["layout"]["annotations"]
            low, high = figure["layout"][label["xref"].replace("x", "xaxis")]["domain"]
            at = low + (high - low) * memory.peak.step / len(report.steps[memory.peak.program])
            assert label["xanchor"] == ("right" if at > 0.5 else "left")  # inside the chart on a phone too


@pytest.mark.parametrize("name", NAMES)
def test_steps_add_up(planned, name):
    report = planned[name].report
    for program, speed in (("decode", report.decode), ("prefill", report.prefill)):
        steps = report.steps[program]
        assert sum(s.cycles for s in steps) == speed.cycles
        assert [s.start for s in steps] == [sum(s.cycles for s in steps[:i]) for i in range(len(steps))]
        for link, size in speed.link_bytes.items():
            assert sum(s.link_bytes.get(link, 0) for s in steps) == size
    rows = list(csv.DictReader(io.StringIO(steps_csv(report.steps))))
    assert sum(int(r["cycles"]) for r in rows if r["program"] == "decode") == report.decode.cycles
    assert len(rows) == sum(map(len, report.steps.values()))


def test_the_trace_is_the_timeline(planned):
    """Trace Event Format: complete events on named lanes, back to back, as long as the run."""
    report = planned["siracusa"].report
    events = json.loads(chrome_trace(report.steps, report.clock_hz))["traceEvents"]
    lanes = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    spans = [e for e in events if e["ph"] == "X"]
    assert {lanes[e["pid"], e["tid"]] for e in spans} <= {n for kind in report.peaks.values() for n in kind}
    for pid, (program, speed) in enumerate({"decode": report.decode, "prefill": report.prefill}.items(), 1):
        own = [e for e in spans if e["pid"] == pid]
        assert max(e["ts"] + e["dur"] for e in own) <= 1e6 * speed.cycles / report.clock_hz * (1 + 1e-6)
        moved = sum(e["args"]["bytes"] for e in own)
        assert moved == sum(speed.link_bytes.values()), program


def test_matmuls_count_their_weights(planned, quantized):
    """One decoded token multiplies by every weight of the blocks and the head once."""
    steps = planned["siracusa"].report.steps["decode"]
    weights = sum(m.packed.shape[0] * m.k for m in quantized.matrices.values())  # the embedding is the head
    assert sum(s.macs for s in steps if s.op.startswith("matmul")) == weights


@pytest.mark.parametrize("name", ("siracusa", "off_chip", "tiny_all"))
def test_the_page_is_whole_and_fetches_nothing(planned, name):
    text = page(planned[name].report)
    assert len(text.encode()) < LIMIT
    outside = re.sub(r'<script type="text/plain" id="plotly">.*?</script>', "", text, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?(?!data:)[\w/.:]+', outside)
    assert "http" not in outside
    assert planned[name].report.title in text


def test_a_name_that_is_markup_stays_text(planned):
    meta, graphs, plan, _ = planned["siracusa"]
    hostile = '</script><img src=x onerror="alert(1)">'
    report = replace(make_report(meta, plan, graphs, {}), title=hostile)
    report = replace(report, buffers=(replace(report.buffers[0], name=hostile), *report.buffers[1:]))
    text = page(report)
    assert "<img" not in text


def test_stages_and_their_curve(planned):
    meta, graphs, plan, _ = planned["siracusa"]
    report = make_report(meta | {"stages": STAGES}, plan, graphs, {})
    assert figures_of(report)["quality"]["data"][0]["y"] == [30.0, 35.5]
    assert "depth 1" in page(report) and "+5.50" in page(report)
    assert "quality" not in figures_of(planned["siracusa"].report)
