"""The size-quality plot: what a model weighs against what it lost. PNG or SVG by the file's suffix."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgec.errors import ToolError
from edgec.output import write_file

MB = 1e6


@dataclass(frozen=True)
class Point:
    """One model: bytes and metric; points with the same `line` are joined, from small to large."""

    name: str
    bytes: float
    value: float
    line: str = ""


def quality_plot(points: Sequence[Point], metric: str, file: Path, title: str = "") -> None:
    """Write the plot. Raises ToolError if matplotlib is not installed."""
    try:
        from adjustText import adjust_text
        from matplotlib.figure import Figure
    except ImportError:
        raise ToolError('plots need matplotlib and adjustText; install "edgec[evaluate]".') from None
    figure = Figure(figsize=(7.5, 4.8), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    for number, line in enumerate(dict.fromkeys(p.line for p in points)):
        chosen = sorted((p for p in points if p.line == line), key=lambda p: p.bytes)
        x, y = [p.bytes / MB for p in chosen], [p.value for p in chosen]
        axes.plot(x, y, "o-" if line else "o", color=f"C{number}", label=line or None, markersize=5, linewidth=1.2)
    values = [p.value for p in points]
    if max(values) > 4 * min(values):
        axes.set_yscale("log")
    axes.set_xlabel("weights, MB")
    axes.set_ylabel(metric.replace("_", " "))
    axes.set_title(title, fontsize=10)
    axes.grid(True, which="both", alpha=0.25)
    axes.margins(x=0.14, y=0.14)
    if any(p.line for p in points):
        axes.legend(frameon=False, fontsize=8)
    labels = [axes.text(p.bytes / MB, p.value, p.name, fontsize=8) for p in points]
    random.seed(0)  # adjust_text draws from it; equal points give equal bytes
    adjust_text(labels, ax=axes, arrowprops={"arrowstyle": "-", "color": "0.6", "lw": 0.6}, expand=(1.15, 1.5))
    stream = io.BytesIO()
    kind = "svg" if file.suffix == ".svg" else "png"
    # No date in the file: equal points give equal bytes.
    figure.savefig(stream, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    write_file(file, stream.getvalue())
