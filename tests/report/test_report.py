"""Invariants of the report on real plans: verdicts, sums, schema, determinism."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import edgec.report
from edgec.cost.estimate import program_usage
from edgec.memory.plan import Buffer
from edgec.report.demand import demand
from edgec.report.memory_use import memory_use
from edgec.report.page import page
from edgec.report.report import make_report, without_folders
from edgec.report.speed import rounded
from edgec.report.text import GAP, plain_text
from edgec.report.verdict import NO_REMEDY

NAMES = ("host", "siracusa", "off_chip", "tiny_l1", "tiny_all", "tiny_kv")
SCHEMA = json.loads((Path(edgec.report.__file__).parent / "schema.json").read_text())


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("host", "fits_on_chip"),
        ("siracusa", "fits_on_chip"),
        ("off_chip", "needs_l3"),
        ("tiny_l1", "does_not_fit"),
        ("tiny_all", "does_not_fit"),
        ("tiny_kv", "does_not_fit"),
    ],
)
def test_verdict_and_demand(planned, name, verdict):
    report = planned[name].report
    assert report.verdict == verdict
    assert bool(report.deficits) == (verdict == "does_not_fit")
    assert bool(report.advice) == (verdict != "fits_on_chip")
    assert bool(demand(report, on_chip=False)) == (verdict == "does_not_fit")
    assert bool(demand(report, on_chip=True)) == (verdict != "fits_on_chip")


@pytest.mark.parametrize("name", NAMES)
def test_memory_is_the_plans_and_the_breakdown_adds_up(planned, name):
    _, _, plan, report = planned[name]
    for m in report.memory:
        assert m.used == plan.used_bytes(m.name) == sum(report.breakdown[m.name].values())
        assert m.headroom == m.capacity - m.used
        assert m.lower_bound == min(m.used, plan.lower_bound(m.name))
        assert min(report.breakdown[m.name].values()) >= 0
    assert {d.memory: d.bytes for d in report.deficits} == plan.deficits()
    for d in report.deficits:
        assert 1 <= len(d.largest) <= 3
        assert d.at_least <= d.bytes
        assert [u.bytes for u in d.largest] == sorted((u.bytes for u in d.largest), reverse=True)


def test_permanent_kinds_are_whole_and_code_and_stack_are_counted(planned):
    plan = planned["siracusa"].plan
    start = -(-plan.used_bytes("L2") // 16) * 16
    program = [Buffer("code", "L2", start, 1000, "code"), Buffer("stack", "L2", start + 1008, 8192, "stack")]
    memories, breakdown, _ = memory_use(replace(plan, buffers=[*plan.buffers, *program]))
    assert breakdown["L2"]["code"] == 1000
    assert breakdown["L2"]["stack"] == 8192
    assert sum(breakdown["L2"].values()) == next(m.used for m in memories if m.name == "L2")
    for kind, column in (("weight", "weights"), ("scale", "scales"), ("kv", "kv"), ("table", "tables")):
        assert sum(parts[column] for parts in breakdown.values()) == sum(b.size for b in plan.buffers if b.kind == kind)


def test_code_behind_the_plan_hides_no_gap(planned):
    plan = planned["siracusa"].plan
    end, bound = plan.used_bytes("L2"), plan.lower_bound("L2")
    assert end == bound == 0
    data = [Buffer("cache", "L2", 0, 1000, "kv"), Buffer("more", "L2", 1264, 256, "kv")]  # 256 B of gap above 1,264
    code = Buffer("code", "L2", 1520, 100_000, "code")
    stacks = Buffer("stacks", "L1", 0, 1024, "stack")  # before the data, not behind them: part of what is placed
    for buffers in (data, [*data, code]):
        memories, _, _ = memory_use(replace(plan, buffers=[*plan.buffers, *buffers, stacks]))
        gaps = {m.name: m.gap_percent for m in memories}
        assert gaps["L2"] == pytest.approx(100 * 1520 / 1264 - 100, abs=0.01)
    assert gaps["L1"] == 0
    (used,) = [m for m in memories if m.name == "L2"]
    assert used.used / used.lower_bound < 1.01


@pytest.mark.parametrize("name", NAMES)
def test_gaps_are_shown_and_small(planned, name):
    report = planned[name].report
    text, html = plain_text(report), page(report)
    for m in report.memory:
        assert 0 <= m.gap_percent <= 1
        assert re.search(rf"^{m.name} .* {f'{m.gap_percent:.1f}%' if m.used else '-'}$", text, re.MULTILINE)
    assert GAP in text and "<td>gap</td>" in html and GAP in html


def test_breakdown_prefers_the_fullest_step_that_reaches_the_mark(planned):
    plan = planned["siracusa"].plan
    base = plan.used_bytes("L3")
    decode = plan.programs["decode"]
    extra = [
        Buffer("low", "L3", base, 64, "scratch", "decode", 0, 2),
        Buffer("top", "L3", base + 160, 32, "activation", "decode", 1, 3),
        Buffer("late", "L3", base, 128, "scratch", "decode", 2, 3),
    ]
    programs = plan.programs | {"decode": replace(decode, buffers=[*decode.buffers, *extra])}
    memories, breakdown, _ = memory_use(replace(plan, programs=programs))
    (l3,) = [m for m in memories if m.name == "L3"]
    assert l3.peak is not None and (l3.peak.program, l3.peak.step) == ("decode", 2)
    assert breakdown["L3"] | {"scratch": 128, "activations": 32, "padding": 32} == breakdown["L3"]
    assert sum(breakdown["L3"].values()) == l3.used


@pytest.mark.parametrize("name", ("host", "siracusa", "off_chip"))
def test_speed_is_the_cost_models(planned, name):
    _, _, plan, report = planned[name]
    for program, s in (("decode", report.decode), ("prefill", report.prefill)):
        usage = program_usage(plan, plan.programs[program], s.rows, s.position)
        assert s.position + s.rows == plan.context
        assert s.cycles == round(usage.cycles) == sum(s.bound_by.values()) == sum(c.cycles for c in s.by_op)
        assert s.link_bytes == usage.link_bytes
        assert s.bottleneck == usage.bottleneck
        assert s.tokens_per_second == pytest.approx(s.rows * plan.target.clock_hz / usage.cycles)
        assert sum(c.steps for c in s.by_op) == len(plan.programs[program].steps)


def test_model_facts(planned, quantized):
    report = planned["siracusa"].report
    assert report.kv_bytes_per_token == 2 * 2 * (2 * 8 + 2 * 2)  # layers, k and v, int8 heads and their f16 scales
    sizes = sum(m.packed.nbytes + m.scale.nbytes for m in quantized.matrices.values())
    sizes += sum(f.nbytes for f in quantized.floats.values())
    assert report.model["weight_bytes"] == sizes
    assert report.model["bits_per_weight"] == pytest.approx(8 * sizes / report.model["parameters"], abs=1e-4)
    assert report.model["weights_by_bits"] == {"4": sum(m.packed.shape[0] * m.k for m in quantized.matrices.values())}
    assert report.model["matrices_kept"] == 0


def test_matrices_that_this_build_did_not_round_are_counted(planned):
    meta, graphs, plan, _ = planned["siracusa"]
    rounded = dict(list(meta["quantization"].items())[3:])
    report = make_report(meta | {"quantization": rounded}, plan, graphs, {})
    assert report.model["matrices_kept"] == 3
    assert "3 matrices keep the codes and scales that they came with" in plain_text(report)


@pytest.mark.parametrize("verified", (False, True))
@pytest.mark.parametrize("name", NAMES)
def test_json_follows_the_schema(planned, name, verified, verification):
    jsonschema = pytest.importorskip("jsonschema")
    meta, graphs, plan, _ = planned[name]
    document = json.loads(make_report(meta, plan, graphs, verification if verified else {}).to_json())
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(document, SCHEMA, jsonschema.Draft202012Validator)
    assert document["schema"] == "edgec-report/1"


def test_schema_is_strict(planned):
    jsonschema = pytest.importorskip("jsonschema")
    document = planned["host"].report.to_dict()
    layer, memory = document["layers"][0], document["memory"][0]
    changes = [{"surprise": 1}, {"context": "24"}, {"verdict": "maybe"}]
    changes += [{"layers": [layer | {"surprise": 1}]}, {"layers": [layer | {"name": "layer"}]}]
    changes += [{"memory": [{k: v for k, v in memory.items() if k != "gap_percent"}]}]
    changes += [{"peaks": {k: v for k, v in document["peaks"].items() if k != "basis"}}]
    changes += [{"model": {k: v for k, v in document["model"].items() if k != "encoding"}}]
    for change in changes:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document | change, SCHEMA, jsonschema.Draft202012Validator)


def test_equal_builds_give_equal_json_without_folders_and_times(planned, verification):
    meta, graphs, plan, _ = planned["siracusa"]
    texts = {make_report(meta, plan, graphs, verification).to_json() for _ in range(2)}
    assert len(texts) == 1
    (text,) = texts
    assert "/home" not in text and "/tmp" not in text and "seconds" not in text.replace("tokens_per_second", "")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/home/me/models/stories", "stories"),
        ("tokenizer from /a/b/tok.json", "tokenizer from tok.json"),
        ("C:\\models\\x.gguf", "x.gguf"),
        ("org/name", "org/name"),
        ("models/stories", "models/stories"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("3 B/cycle", "3 B/cycle"),
    ],
)
def test_without_folders(given, kept):
    assert without_folders({"x": [given]}) == {"x": [kept]}


def test_rounded_parts_add_up():
    parts = {str(i): 0.4 for i in range(10)}
    assert sum(rounded(parts).values()) == 4
    assert rounded({}) == {}


def test_advice_names_the_target_that_would_do(planned):
    _, _, plan, report = planned["tiny_l1"]
    (l1,) = report.deficits
    holds = plan.target.memory_by_name["L1"].capacity_bytes
    assert report.advice == (f"This plan fits a target whose L1 holds {holds + l1.bytes:,} B.",)


REMEDIES = [
    {"change": "context 24 to 16", "recipe": "[build]\ncontext = 16", "saved_bytes": 512, "tokens_per_second": 7.5}
    | {"loss": 0.0},
    {"change": "weights in 3 bits", "recipe": "[quantize]\nbits = 3", "saved_bytes": 4096, "tokens_per_second": 7.0}
    | {"loss": None},
]


def test_remedies_are_shown_with_lines_to_paste(planned):
    meta, graphs, plan, bare = planned["tiny_kv"]
    text, html = (form(make_report(meta | {"remedies": REMEDIES}, plan, graphs, {})) for form in (plain_text, page))
    assert "To fit: one of these changes is enough; each was planned anew" in text
    assert "# context 24 to 16\n[build]\ncontext = 16\n" in text
    assert re.search(r"weights in 3 bits +4,096 +7\.0 +not measured", text)
    assert "<pre>[quantize]\nbits = 3</pre>" in html and "as before" in html
    assert NO_REMEDY in plain_text(bare) and NO_REMEDY in page(bare)
    assert NO_REMEDY not in plain_text(planned["host"].report)
