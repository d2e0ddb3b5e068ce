"""Matrices in the accelerator's form: counted by the weights that they hold, and their bytes against packed codes."""

from __future__ import annotations

import json

import pytest

from edgec.compress.quantized import QuantizedModel
from edgec.memory.plan import Plan
from edgec.packing import row_bytes
from edgec.report.encoding import encoding_line
from edgec.report.page import page
from edgec.report.report import make_report
from edgec.report.text import plain_text


def packed_bytes(model: QuantizedModel, plan: Plan) -> int:
    """Packed codes of the matrices that are encoded: all but the table, which stays as it is."""
    matrices = [m for name, m in model.matrices.items() if "embed_tokens" not in name]
    return sum(m.packed.shape[0] * row_bytes(m.k, m.bits, m.group_size) for m in matrices)


def test_weights_are_counted_by_their_own_width(encoded) -> None:
    weights = sum(m.packed.shape[0] * m.k for m in encoded.model.matrices.values())
    assert encoded.report.model["weights_by_bits"] == {"4": weights}
    assert sum(row["weights"] for row in encoded.report.model["storage"]) == weights


def test_the_line_names_forms_and_bytes(encoded) -> None:
    found = encoded.report.model["encoding"]
    assert found["accelerator"] == "neureka" and sum(found["matrices"].values()) == 15  # 2 layers of 7, and the head
    assert found["packed_bytes"] == packed_bytes(encoded.model, encoded.plan)
    codes = (b for b in encoded.plan.buffers if b.kind == "weight" and b.name.endswith("_proj.weight"))
    head = next(b.size for b in encoded.plan.buffers if b.name == "lm_head.weight")
    assert found["bytes"] == sum(b.size for b in codes) + head
    line = encoding_line(found)
    assert f"{found['bytes'] - found['packed_bytes']:,} B more" in line
    joined = " ".join(plain_text(encoded.report).split())
    assert line in joined and line in page(encoded.report)


def test_what_each_role_takes_names_the_form(encoded) -> None:
    forms = {row["form"] for row in encoded.report.model["storage"] if row["role"] != "embed"}
    assert forms == set(encoded.report.model["encoding"]["matrices"])
    for shown in (plain_text(encoded.report), page(encoded.report)):
        assert "4 bits, dense" in shown and any(f"bits, {form}" in shown for form in forms)


def test_unknown_widths_are_not_compared(encoded) -> None:
    bare = {key: value for key, value in encoded.meta.items() if key != "widths"}
    model = make_report(bare, encoded.plan, encoded.graphs, {}).model
    ones = "1x1" in model["encoding"]["matrices"]
    assert (model["encoding"]["packed_bytes"] is None) == ones
    line = encoding_line(model["encoding"] | {"packed_bytes": None})
    assert "where packed codes" not in line and "8 bits" in line


def test_smaller_is_said_too() -> None:
    found = {"accelerator": "neureka", "matrices": {"1x1": 2, "3x3": 1}, "bytes": 90, "packed_bytes": 100}
    assert encoding_line(found) == (
        "matrices encoded for neureka: 2 in 1x1 form and 1 in 3x3 form, 90 B where packed codes take 100 B: 10 B less"
    )


def test_json_follows_the_schema(encoded, schema) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(json.loads(encoded.report.to_json()), schema, jsonschema.Draft202012Validator)


def test_packed_codes_alone_need_no_line(planned) -> None:
    report = planned["siracusa"].report
    assert report.model["encoding"] is None and "encoded for" not in plain_text(report)
