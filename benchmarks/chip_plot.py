"""The plot of predicted tokens per second over contexts: a line a model, and dashed what reading its weights allows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from chip_speeds import Speed

from edgec.output import write_file

COLOURS = ("#0b5fa5", "#b3541e", "#1a7f5a", "#8a3a8f", "#3c3c3c", "#a08000")  # apart for colour-blind readers too
MARKERS = "osD^vP"
INK = "#111111"


def speed_plot(speeds: Sequence[Speed], clock_hz: int, title: str, file: Path) -> None:
    """Write the PNG. Raises ImportError without matplotlib."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    figure = Figure(figsize=(8.4, 5.0), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    entries = []
    for number, model in enumerate(dict.fromkeys(s.model for s in speeds)):
        rows = [s for s in speeds if s.model == model]
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        x = [s.context for s in rows]
        axes.plot(x, [s.tokens_per_second for s in rows], color=colour, marker=marker, markersize=6, linewidth=1.6)
        floor = [clock_hz / s.floor_cycles for s in rows]
        axes.plot(x, floor, color=colour, marker=marker, markersize=4, linewidth=1.2, linestyle="--", mfc="white")
        entries.append(Line2D([], [], color=colour, marker=marker, markersize=6, label=model))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted({s.context for s in speeds})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("context: the decoded token and those before it", color=INK)
    axes.set_ylabel("tokens per second", color=INK)
    axes.set_title(title, fontsize=10, color=INK)
    axes.grid(True, which="major", alpha=0.3)
    axes.tick_params(colors=INK)
    entries.append(Line2D([], [], color=INK, linewidth=1.6, label="decoding, predicted"))
    entries.append(
        Line2D([], [], color=INK, linewidth=1.2, linestyle="--", label="floor: reading weights\nand nothing else")
    )
    figure.legend(handles=entries, loc="outside right upper", frameon=False, fontsize=9, labelcolor=INK)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})  # equal numbers give equal bytes
    write_file(file, stream.getvalue())
