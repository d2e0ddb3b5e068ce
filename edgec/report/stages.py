"""The per-stage table: what each stage left, in parameters, bytes, perplexity and seconds; the dense model first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgec.errors import EdgecError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.seq2seq_config import has_encoder

WIDTH = 100
MANY = 10_000_000
HEADER = ("stage", "parameters", "nonzero", "MB", "b/w", "perplexity", "Δ", "seconds")
PERPLEXITY, BITS = "perplexity", "bits_per_byte"
SHOWN = {
    "depth": ("blocks",),
    "skip": ("skip", "repeat"),
    "vocab": ("size",),
    "neurons": ("ffn", "heads", "attention"),
    "width": ("pattern", "sparsity"),
    "sparsegpt": ("pattern", "sparsity"),
    "svd": ("basis", "rank", "ratio", "energy", "budget"),
    "mass": ("by", "blocks"),
    "global_fact": ("init", "rank", "ratio"),
    "abaco": ("rank",),
    "quantize": ("bits", "group_size"),
    "lora": ("rank",),
}


def measure_on(file: str, windows: int) -> Callable[[Checkpoint, Callable[[str, int, int], None]], dict[str, Any]]:
    """A measure for the pipeline: perplexity on the first windows of a text."""
    from edgec.compress.calibration import read_text
    from edgec.evaluate.scorer import FloatScorer, tokenizer_of
    from edgec.evaluate.tasks import text_evaluation

    text = read_text(file)  # a missing file must not wait for the first stage

    def measure(model: Checkpoint, say: Callable[[str, int, int], None]) -> dict[str, Any]:
        if has_encoder(model.config):
            raise EdgecError(
                "perplexity is of models that continue text; measure what stages left with edgec evaluate."
            )
        metrics, protocol = text_evaluation(
            FloatScorer(model, tokenizer_of(model)), "perplexity", Path(file).name, text, 512, windows, say
        )
        return dict(metrics) | {"protocol": protocol}

    return measure


def stage_table(rows: Sequence[Mapping[str, Any]], width: int = WIDTH) -> str:
    """The table as plain text."""
    from io import StringIO

    from rich.console import Console

    stream = StringIO()
    Console(file=stream, width=width, color_system=None).print(rich_table(rows))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def rich_table(rows: Sequence[Mapping[str, Any]], encoding: str = "utf-8") -> Any:
    """One line a stage. Δ is against the stage before; b/w are bits per weight of the blocks' matrices."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    header, *body = stage_rows(rows) or [HEADER]
    for number, name in enumerate(header):
        shown = name if encoding.lower().startswith("utf") or name != "Δ" else "change"
        table.add_column(shown, justify="right" if number else "left", no_wrap=True)
    for cells in body:
        table.add_row(*cells)
    return table


def measured_by(rows: Sequence[Mapping[str, Any]]) -> str:
    """Under which key of `quality` stages compare: a token's perplexity says nothing where tokens are not the same."""
    return BITS if any(row["method"] == "vocab" for row in rows) else PERPLEXITY


def stage_rows(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The header and a row of cells for each stage; empty if there is none."""
    if not rows:
        return []
    metric = measured_by(rows)
    digits = 2 if metric == PERPLEXITY else 3
    names = {} if metric == PERPLEXITY else {PERPLEXITY: "bits/byte"}
    table: list[tuple[str, ...]] = [tuple(names.get(cell, cell) for cell in HEADER)]
    before: float | None = None
    for row in rows:
        value = (row.get("quality") or {}).get(metric)
        delta = "" if before is None or value is None else f"{value - before:+.{digits}f}"
        table.append(
            (
                _name(row),
                _count(row["parameters"]),
                _count(row["nonzero"]),
                f"{row['bytes'] / 1e6:,.1f}",
                f"{row['block_bits_per_weight']:.2f}",
                "-" if value is None else f"{value:,.{digits}f}",
                delta,
                "" if row.get("seconds") is None else f"{row['seconds']:,.0f}",
            )
        )
        before = value if value is not None else before
    return table


def _count(number: int) -> str:
    """Exact up to ten million, in millions beyond: a terminal has 80 columns."""
    return f"{number:,}" if number < MANY else f"{number / 1e6:,.1f} M"


def _name(row: Mapping[str, Any]) -> str:
    found = (row[key] for key in SHOWN.get(row["method"], ()) if row.get(key))
    shown = (",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value) for value in found)
    return " ".join([row["method"], *shown])
