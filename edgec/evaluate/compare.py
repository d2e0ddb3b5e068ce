"""Evaluations of several models side by side: only numbers of the same task and protocol are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.errors import EdgecError
from edgec.evaluate.result import stored

FREE = ("arithmetic",)  # of the protocol: what may differ between compared numbers, and is shown instead
FREE_OF_TOKENS = (*FREE, "tokens", "windows")  # of bits per byte: models may cut a text into tokens of their own


@dataclass(frozen=True)
class Row:
    """One model's number."""

    name: str
    parameters: int
    bytes: int
    value: float
    arithmetic: str


@dataclass(frozen=True)
class Comparison:
    """Rows in the order given; lower is better."""

    task: str
    metric: str
    protocol: Mapping[str, Any]
    rows: tuple[Row, ...]


def compare(paths: Sequence[Path], task: str | None = None) -> Comparison:
    """What all of `paths` (folders or JSON files) have measured under one protocol, the last one stored first.

    Raises EdgecError if one has no evaluation, or if they have none in common.
    """
    found = {path: [e for e in stored(path) if task in (None, e["task"])] for path in paths}
    for path, entries in found.items():
        if not entries:
            wanted = f" of {task}" if task else ""
            raise EdgecError(f"{path} has no evaluation{wanted}; run edgec evaluate on it first.")
    for entry in reversed(found[paths[0]]):
        same = [[e for e in found[path] if _key(e) == _key(entry)] for path in paths]
        if all(same):
            metric = next(iter(entry["metrics"]))
            if entry["task"] == "bits-per-byte":
                metric = "bits_per_byte"
            elif "perplexity" in entry["metrics"]:
                metric = "perplexity"
            rows = tuple(
                Row(_name(path, e), e["model"]["parameters"], e["model"]["bytes"], e["metrics"][metric], _how(e))
                for path, entries in zip(paths, same, strict=True)
                for e in entries
            )
            shared = {k: v for k, v in entry["protocol"].items() if k not in _free(entry)}
            return Comparison(entry["task"], metric, shared, rows)
    raise EdgecError("the models were never measured under the same protocol; run edgec evaluate on each alike.")


def table(found: Comparison) -> str:
    """The comparison as plain text, differences to the first row."""
    from io import StringIO

    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    shown.add_column("model", no_wrap=True)
    for name in ("parameters", "MB", found.metric.replace("_", " "), "difference"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("computed by")
    first = found.rows[0].value
    for row in found.rows:
        change = "" if row is found.rows[0] else f"{row.value - first:+.4g}"
        shown.add_row(
            row.name, f"{row.parameters:,}", f"{row.bytes / 1e6:,.1f}", f"{row.value:.5g}", change, row.arithmetic
        )
    stream = StringIO()
    Console(file=stream, width=110, color_system=None).print(shown)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    protocol = ", ".join(f"{k} {v}" for k, v in found.protocol.items() if k != "sha256")
    return "\n".join([*lines, f"{found.task}: {protocol}"])


def _key(entry: Mapping[str, Any]) -> tuple[str, str]:
    return entry["task"], repr(sorted((k, v) for k, v in entry["protocol"].items() if k not in _free(entry)))


def _free(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return FREE_OF_TOKENS if entry["task"] == "bits-per-byte" else FREE


def _name(path: Path, entry: Mapping[str, Any]) -> str:
    return path.name if path.is_dir() else str(entry["model"].get("name", path.stem))


def _how(entry: Mapping[str, Any]) -> str:
    return str(entry["protocol"].get("arithmetic", ""))
