"""The same charts as PNG files, by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from edgec.errors import ToolError
from edgec.report.charts import Figure

COLUMNS = 3
WIDTH, HEIGHT = 4.6, 3.2  # inches of a chart


def picture(charts: Sequence[tuple[str, Figure]]) -> bytes:
    """All charts in one picture (PNG), each under its title. Raises ToolError if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError:
        raise ToolError('pictures need matplotlib; install "edgec[evaluate]".') from None
    columns = min(COLUMNS, len(charts))
    rows = -(-len(charts) // columns)
    canvas = Canvas(figsize=(WIDTH * columns, HEIGHT * rows), layout="constrained", dpi=130)
    grid = canvas.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(charts) :]:
        axes.set_axis_off()
    for axes, (title, chart) in zip(grid.flat, charts, strict=False):
        axes.set_title(title, fontsize=9)
        for trace in chart["data"]:
            (_heat if trace["type"] == "heatmap" else _line)(canvas, axes, trace)
        for axis in "xy":
            layout = chart["layout"].get(f"{axis}axis", {})
            getattr(axes, f"set_{axis}label")(layout.get("title", {}).get("text", ""), fontsize=8)
            if "range" in layout:
                getattr(axes, f"set_{axis}lim")(*layout["range"])
        axes.tick_params(labelsize=7)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=7, frameon=False)
    stream = io.BytesIO()
    canvas.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _line(canvas: Any, axes: Any, trace: dict[str, Any]) -> None:
    line = trace.get("line", {})
    label = trace["name"] if trace.get("showlegend", True) else None
    marker = "." if "markers" in trace["mode"] else None
    axes.plot(
        trace["x"], trace["y"], color=line.get("color"), linewidth=line.get("width", 1), label=label, marker=marker
    )
    axes.grid(True, alpha=0.25)


def _heat(canvas: Any, axes: Any, trace: dict[str, Any]) -> None:
    z = [[float("nan") if v is None else v for v in row] for row in trace["z"]]
    colours = {"RdBu": "RdBu_r", "Viridis": "viridis"}[trace["colorscale"]]
    image = axes.imshow(
        z, aspect="auto", cmap=colours, vmin=trace.get("zmin"), vmax=trace.get("zmax"), interpolation="nearest"
    )
    if isinstance(trace["y"][0], str):
        axes.set_yticks(range(len(trace["y"])), trace["y"])
    canvas.colorbar(image, ax=axes).ax.tick_params(labelsize=7)
