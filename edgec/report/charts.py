"""The report's charts as plotly figures (plain dictionaries): the page draws them, with hover and zoom.

Colours are set here by meaning only; text, grid and background follow the reader's light or dark mode in the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgec.memory.plan import Buffer
from edgec.report.layers import ROLES, LayerErrors
from edgec.report.memory_use import KINDS, MemoryUse
from edgec.report.report import Report
from edgec.report.stages import measured_by

Figure = dict[str, Any]

COLOURS = {  # Okabe and Ito's palette and its neighbours: told apart by colour-blind readers too
    "weight": "#0072B2",
    "scale": "#56B4E9",
    "table": "#999999",
    "kv": "#009E73",
    "state": "#8C6BB1",
    "activation": "#E69F00",
    "scratch": "#D55E00",
    "stage": "#CC79A7",
    "code": "#5B5B5B",
    "data": "#F0E442",
    "stack": "#A0742F",
}
OPS = ("matmul", "attention", "quantize_dynamic", "rmsnorm", "silu_mul", "rope", "kv_append", "add", "sample", "embed")
CYCLE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6BB1", "#A0742F", "#F0E442", "#5B5B5B")
OTHER = ("#999999", "#2F4B7C", "#B2DF8A", "#FB9A99")
CROWD = 300  # buffers of a kind beyond which borders would hide them
GAP = 0.02  # between the programs' axes, as a share of the width


def memory_map(report: Report, memory: MemoryUse) -> Figure:
    """Address against step: every buffer of a memory, for each program, with the peak step marked."""
    programs = list(report.steps)
    spans = _spans([len(report.steps[name]) for name in programs])
    data: list[Figure] = []
    for axis, name in enumerate(programs):
        steps = len(report.steps[name])
        here = [b for b in report.buffers if b.level == memory.name and b.program in ("", name)]
        for kind in KINDS:
            if chosen := [b for b in here if b.kind == kind]:
                data.append(_rectangles(chosen, kind, steps, axis, shown=axis == 0 or not _earlier(data, kind)))
    top = max(memory.used, 1) * 1.04
    layout: Figure = {
        "barmode": "overlay",
        "bargap": 0,
        "height": 360,
        "showlegend": True,
        "yaxis": {"title": {"text": "address, B"}, "range": [0, top], "tickformat": ",d"},
        "shapes": [],
        "annotations": [],
    }
    for axis, (name, span) in enumerate(zip(programs, spans, strict=True)):
        key = f"xaxis{axis + 1 if axis else ''}"
        layout[key] = {
            "domain": span,
            "title": {"text": f"step of {name}"},
            "range": [-0.5, len(report.steps[name]) - 0.5],
        }
        if memory.peak and memory.peak.program == name:
            x = {"x0": memory.peak.step, "x1": memory.peak.step, "xref": f"x{axis + 1 if axis else ''}"}
            layout["shapes"].append(
                x | {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": {"dash": "dot", "width": 1.5}}
            )
            share = memory.peak.step / len(report.steps[name])
            right = span[0] + share * (span[1] - span[0]) > 0.5  # the label goes where the chart goes on
            layout["annotations"].append(
                {
                    "xanchor": "right" if right else "left",
                    **{"x": memory.peak.step, "xref": x["xref"], "y": 1.0, "yref": "paper", "yanchor": "bottom"},
                    **{"text": f"peak: {memory.peak.op}", "showarrow": False},
                }
            )
    if memory.capacity <= top:
        line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": memory.capacity, "y1": memory.capacity}
        layout["shapes"].append(line | {"line": {"color": "#D00000", "width": 2}})
    return {"data": data, "layout": layout}


def _spans(counts: Sequence[int]) -> list[list[float]]:
    """Axis domains side by side, each of an equal share."""
    width = 1 / len(counts)
    return [[i * width + (GAP if i else 0), (i + 1) * width - GAP * (i + 1 < len(counts))] for i in range(len(counts))]


def _earlier(data: list[Figure], kind: str) -> bool:
    return any(trace["name"] == KINDS[kind] for trace in data)


def _rectangles(buffers: Sequence[Buffer], kind: str, steps: int, axis: int, shown: bool) -> Figure:
    """One trace of bars that float: base is the offset, height the size, width the lifetime."""
    border = 0.4 if len(buffers) <= CROWD else 0
    starts = [b.start if b.program else 0 for b in buffers]
    ends = [b.end if b.program else steps for b in buffers]
    return {
        "type": "bar",
        "name": KINDS[kind],
        "legendgroup": kind,
        "showlegend": shown,
        "xaxis": f"x{axis + 1 if axis else ''}",
        "x": [(a + b - 1) / 2 for a, b in zip(starts, ends, strict=True)],
        "width": [b - a for a, b in zip(starts, ends, strict=True)],
        "base": [b.offset for b in buffers],
        "y": [b.size for b in buffers],
        "marker": {"color": COLOURS[kind], "line": {"width": border, "color": "rgba(255,255,255,0.6)"}},
        "customdata": [
            [b.name, f"0x{b.offset:x} to 0x{b.offset + b.size:x}", f"{b.size:,} B", f"steps {a} to {z - 1}"]
            for b, a, z in zip(buffers, starts, ends, strict=True)
        ],
        "hovertemplate": "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}, %{customdata[3]}"
        "<extra></extra>",
    }


def op_colours(report: Report) -> dict[str, str]:
    """A colour for each op of the report, the same in every chart; all widths of one share it."""
    found = dict.fromkeys(s.op for steps in report.steps.values() for s in steps)
    by_name = dict(zip(OPS, CYCLE, strict=True))
    family = {op: next((name for name in OPS if op.startswith(name)), op) for op in found}
    others = [op for op in found if family[op] not in by_name]
    rest = {op: OTHER[i % len(OTHER)] for i, op in enumerate(others)}
    return {op: by_name.get(family[op]) or rest[op] for op in found}


def timeline(report: Report, program: str, resources: Sequence[str]) -> Figure:
    """Busy time of every engine and link over a run, by op."""
    steps = report.steps[program]
    data = []
    colours = op_colours(report)
    for op in dict.fromkeys(s.op for s in steps):
        bars = [(s, name) for s in steps if s.op == op for name in resources if s.busy.get(name)]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": op,
                "y": [name for _, name in bars],
                "base": [s.start for s, _ in bars],
                "x": [min(s.busy[name], s.cycles) for s, name in bars],
                "marker": {"color": colours[op], "line": {"width": 0}},
                "customdata": [[s.node, f"{s.cycles:,}", f"{s.busy[name]:,}", s.bottleneck] for s, name in bars],
                "hovertemplate": "<b>%{customdata[0]}</b><br>%{customdata[1]} cycles, %{y} busy %{customdata[2]}"
                "<br>waits for %{customdata[3]}<extra></extra>",
            }
        )
    used = [name for name in resources if any(s.busy.get(name) for s in steps)]
    layout = {
        "barmode": "overlay",
        "bargap": 0.15,
        "height": 130 + 34 * len(used),
        "xaxis": {"title": {"text": "cycles"}, "tickformat": ",d", "range": [0, sum(s.cycles for s in steps)]},
        "yaxis": {"categoryarray": used[::-1], "categoryorder": "array"},
    }
    return {"data": data, "layout": layout}


def op_times(report: Report) -> Figure:
    """Where the time of each kind of run goes, as shares by op."""
    data = []
    costs = {name: speed.by_op for name, speed in report.runs.items()}
    ops = list(dict.fromkeys(c.op for each in costs.values() for c in each))
    colours = op_colours(report)
    for op in ops:
        found = [(name, c) for name, each in costs.items() for c in each if c.op == op]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": op,
                "y": [name for name, _ in found],
                "x": [100 * c.share for _, c in found],
                "marker": {"color": colours[op]},
                "customdata": [[f"{c.cycles:,}", c.steps, c.bottleneck] for _, c in found],
                "hovertemplate": f"<b>{op}</b> %{{x:.1f}} %<br>%{{customdata[0]}} cycles in %{{customdata[1]}} steps"
                "<br>busiest: %{customdata[2]}<extra></extra>",
            }
        )
    layout = {"barmode": "stack", "height": 260, "xaxis": {"title": {"text": "% of cycles"}, "range": [0, 100]}}
    return {"data": data, "layout": layout}


def error_map(errors: LayerErrors) -> Figure:
    """Layer against role: the share of power that rounding lost."""
    roles = [role for role in ROLES if any(role in layer for layer in errors.errors)]
    z = [[layer.get(role) for layer in errors.errors] for role in roles]
    data = [
        {
            "type": "heatmap",
            "z": z,
            "x": list(range(len(errors.errors))),
            "y": roles,
            "colorscale": "Viridis",
            "colorbar": {"title": {"text": "share"}, "tickformat": ".2g"},
            "hovertemplate": "layer %{x} %{y}: %{z:.3g}<extra></extra>",
        }
    ]
    layout = {"height": 300, "xaxis": {"title": {"text": "layer"}, "dtick": 1 if len(errors.errors) <= 40 else None}}
    return {"data": data, "layout": layout | {"yaxis": {"autorange": "reversed"}}}


def size_quality(stages: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Perplexity (bits per byte if the vocabulary changes) against bytes along the stages; None if fewer than two were
    measured."""
    metric = measured_by(stages)
    words = metric.replace("_", " ")
    points = [s for s in stages if (s.get("quality") or {}).get(metric)]
    if len(points) < 2:
        return None
    trace = {
        "type": "scatter",
        "mode": "lines+markers+text",
        "name": "stages",
        "x": [s["bytes"] / 1e6 for s in points],
        "y": [s["quality"][metric] for s in points],
        "text": [s["method"] for s in points],
        "textposition": "top center",
        "line": {"dash": "dot", "width": 1},
        "marker": {"size": 10, "color": COLOURS["weight"]},
        "hovertemplate": f"<b>%{{text}}</b><br>%{{x:.2f}} MB, {words} %{{y:.4g}}<extra></extra>",
    }
    layout = {
        "height": 360,
        "showlegend": False,
        "xaxis": {"title": {"text": "weights, MB"}},
        "yaxis": {"title": {"text": words}},
    }
    return {"data": [trace], "layout": layout}
