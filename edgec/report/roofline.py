"""The roofline: what steps reach, below what engines compute and links carry (`edgec/report/peaks.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgec.report.charts import Figure, op_colours
from edgec.report.report import Report
from edgec.report.steps import StepCost


def roofline(report: Report, program: str) -> Figure:
    """MAC per cycle against MAC per byte moved, a point for every step, below what engines and links allow."""
    points = roofline_steps(report.steps[program])
    data: list[Figure] = []
    colours = op_colours(report)
    for op in dict.fromkeys(s.op for s in points):
        chosen = [s for s in points if s.op == op]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": op,
                "x": [s.macs / _bytes(s) for s in chosen],
                "y": [s.macs / max(1, s.cycles) for s in chosen],
                "marker": {"color": colours[op], "size": 8, "opacity": 0.75},
                "customdata": [[s.node, f"{s.macs:,}", f"{_bytes(s):,}"] for s in chosen],
                "hovertemplate": "<b>%{customdata[0]}</b><br>%{customdata[1]} MAC, %{customdata[2]} B moved or read"
                "<br>%{y:.2f} MAC/cycle<extra></extra>",
            }
        )
    if points:
        used = {name for s in points for name in (*s.busy, *s.link_bytes)}
        data += ceilings(report.peaks, used, [x for trace in data for x in trace["x"]])
    axis = {"type": "log", "exponentformat": "power", "dtick": "D2"}  # labels at 1, 2 and 5
    layout = {
        "height": 420,
        "xaxis": axis | {"title": {"text": "MAC per byte moved or read in place"}},
        "yaxis": axis | {"title": {"text": "MAC per cycle"}},
    }
    return {"data": data, "layout": layout}


def roofline_steps(steps: Sequence[StepCost]) -> list[StepCost]:
    """The steps that multiply something that has to come from somewhere."""
    return [s for s in steps if s.macs and _bytes(s)]


def _bytes(step: StepCost) -> int:
    """What a step moves over links, and weights that an accelerator reads where they lie."""
    return sum(step.link_bytes.values()) + sum(step.streamed_bytes.values())


def ceilings(peaks: Mapping[str, Mapping[str, Any]], used: set[str], seen: Sequence[float]) -> list[Figure]:
    """Flat lines for engines, sloped ones for links and for accelerators' ports to weights, of those in use: from below
    the ridge to beyond the points."""
    engines = {name: rate for name, rate in peaks["engines"].items() if name in used}
    best = max(engines.values())
    rates = {name: rate for name, rate in peaks["links"].items() if name in used}
    rates |= {f"{name}'s weights": rate for name, rate in peaks["ports"].items() if name in used}
    low, high = min([*seen, *(best / rate for rate in rates.values())]) / 2, max(seen) * 2
    result = []
    for name, top in engines.items():
        label = f"{name}: {top:.3g} MAC/cycle ({peaks['basis'][name]})"
        result.append({"name": label, "x": [low, high], "y": [top, top]})
    for name, rate in rates.items():
        end = min(high, best / rate)
        result.append({"name": f"{name}: {rate:g} B/cycle", "x": [low, end], "y": [rate * low, rate * end]})
    style = {"type": "scatter", "mode": "lines", "hoverinfo": "name", "line": {"width": 1.5, "dash": "dash"}}
    return [trace | style for trace in result]
