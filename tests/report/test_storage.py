"""What each role takes: the plan's bytes, every matrix once."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from edgec.compress.quantized import QuantizedModel
from edgec.compress.shapes import empty
from edgec.lower.llama import constants, lower
from edgec.memory.planner import plan
from edgec.report.page import page
from edgec.report.report import make_report
from edgec.report.storage import storage_cells, storage_rows
from edgec.report.text import render
from edgec.target import load_target

COLUMNS = {"role", "bits", "pattern", "form", "matrices", "weights", "bytes", "bits_per_weight"}


def test_rows_add_up_to_the_plans_matrices(planned) -> None:
    _, graphs, made, report = planned["siracusa"]
    rows = storage_rows(made, graphs["decode"])
    assert list(report.model["storage"]) == rows
    assert [row["role"] for row in rows] == ["q", "k", "v", "o", "gate", "up", "down", "embed"]
    assert all(set(row) == COLUMNS and row["pattern"] == "" and row["bits"] == 4 for row in rows)
    matrices = ("_proj.weight", "_proj.weight.scale", "embed_tokens.weight", "embed_tokens.weight.scale")
    assert sum(row["bytes"] for row in rows) == sum(b.size for b in made.buffers if b.name.endswith(matrices))
    q = next(b.size for b in made.buffers if b.name.endswith("q_proj.weight"))
    scales = next(b.size for b in made.buffers if b.name.endswith("q_proj.weight.scale"))
    assert rows[0]["bytes"] == rows[0]["matrices"] * (q + scales)


def test_dense_models_have_no_table_and_packed_ones_do(planned, quantized) -> None:
    meta, _, made, report = planned["siracusa"]
    assert "stored as" not in text(report) and "stored as" not in page(report)
    gate = next(name for name in quantized.matrices if "gate_proj" in name)
    n, k = quantized.matrices[gate].packed.shape[0], quantized.matrices[gate].k
    matrices = quantized.matrices | {gate: empty(n, k, 8, 32, (2, 4))}
    model = QuantizedModel(quantized.config, matrices, quantized.floats)
    consts = constants(model, made.context)
    graphs = {name: lower(model, consts, name, rows, made.context) for name, rows in (("prefill", 4), ("decode", 1))}
    packed = make_report(meta, plan(graphs, load_target("siracusa"), made.context), graphs, {})
    rows = {(row["role"], row["pattern"]): row for row in packed.model["storage"]}
    row = rows["gate", "2:4"]
    assert row["weights"] == n * k and row["matrices"] == 1 and row["bits_per_weight"] == 5.5  # 4 + 1 + 16 / 32
    others = sum(1 for name in quantized.matrices if "gate_proj" in name) - 1
    assert (("gate", "") in rows) == bool(others)
    assert storage_cells([row])[1] == ("gate", "8 bits, 2:4", "1", f"{n * k * 11 // 16:,}", "5.50")
    for shown in (text(packed), page(packed)):
        assert "stored as" in shown and "8 bits, 2:4" in shown


def text(report) -> str:
    stream = StringIO()
    render(report, Console(file=stream, width=80, color_system=None))
    return stream.getvalue()
