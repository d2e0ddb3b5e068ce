"""Charts of analyses as plotly figures (plain dictionaries) for the page, in the report's conventions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgec.analyze.exchange import Exchange
from edgec.analyze.sensitivity import Change, Sensitivity
from edgec.analyze.spectrum import SHARES, Spectrum
from edgec.frontend.structure import BLOCK_ROLES
from edgec.report.charts import CYCLE, Figure

POINTS = 96  # of a curve


def explained(found: Sequence[Spectrum], joined: str) -> Figure:
    """Explained variance against the share of the full rank: a line for each matrix, or for each role's joined ones."""
    data = []
    shown: set[str] = set()
    for s in found:
        if s.joined != joined:
            continue
        values = s.explained
        at = np.unique(np.linspace(0, len(values) - 1, min(POINTS, len(values))).astype(int))
        label = s.role if s.layer is None else f"layer {s.layer} {s.role}"
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": s.role,
                "legendgroup": s.role,
                "showlegend": s.role not in shown,
                "x": [round((i + 1) / len(values), 4) for i in at.tolist()],
                "y": [round(float(values[i]), 5) for i in at],
                "line": {"color": _colour(s.role), "width": 1 if s.layer is not None else 2},
                "hovertemplate": f"{label}: %{{y:.3f}} at %{{x:.2f}} of full rank<extra></extra>",
            }
        )
        shown.add(s.role)
    return {
        "data": data,
        "layout": {
            "height": 420,
            "showlegend": True,
            "xaxis": {"title": {"text": "rank, share of the full one"}, "range": [0, 1]},
            "yaxis": {"title": {"text": "explained variance"}, "range": [0, 1.02]},
        },
    }


def rank_map(found: Sequence[Spectrum], share: float = SHARES[1]) -> Figure:
    """Layer against role: the approximate rank as a share of the full one."""
    single = [s for s in found if s.layer is not None]
    roles = [role for role in BLOCK_ROLES if any(s.role == role for s in single)]
    layers = 1 + max(s.layer or 0 for s in single)
    z: list[list[float | None]] = [[None] * layers for _ in roles]
    for s in single:
        z[roles.index(s.role)][s.layer or 0] = round(s.rank(share) / min(s.shape), 4)
    return _heat(
        z, list(range(layers)), roles, "share", "Viridis", f"%{{y}} of layer %{{x}}: %{{z:.3f}} at EV {share:g}"
    )


def exchange_map(found: Exchange, what: str) -> Figure:
    """Block i's part in the place of block j's: the change of the loss, or its difference to none at all."""
    z = found.replace if what == "replace" else found.difference
    top = float(np.nanpercentile(np.abs(z), 90)) or 1.0
    n = len(found.ablate)
    hover = "part of %{y} in %{x}: %{z:+.4g}"
    figure = _heat(_plain(z), list(range(n)), list(range(n)), "loss", "RdBu", hover)
    figure["data"][0] |= {"zmin": -top, "zmax": top}  # plotly's RdBu is red where the loss grows
    figure["layout"] |= {"height": 520, "xaxis": {"title": {"text": "place (block j)"}}}
    figure["layout"]["yaxis"] = {"title": {"text": "part of block i"}, "autorange": "reversed"}
    return figure


def ablation(found: Sequence[Exchange]) -> Figure:
    """The loss that each block's parts are worth."""
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": e.part,
            "x": list(range(len(e.ablate))),
            "y": [round(float(v), 6) for v in e.ablate],
            "line": {"color": CYCLE[i % len(CYCLE)]},
            "hovertemplate": f"without {e.part} of %{{x}}: %{{y:+.4g}}<extra></extra>",
        }
        for i, e in enumerate(found)
    ]
    layout = {"height": 340, "showlegend": True, "xaxis": {"title": {"text": "block"}}}
    return {"data": data, "layout": layout | {"yaxis": {"title": {"text": "change of the loss"}}}}


def sensitivity_map(found: Sensitivity, change: Change, roles: Sequence[str]) -> Figure:
    """Layer against role: the change of the loss."""
    z = found.table(change, roles)
    return _heat(z, list(range(len(z[0]))), list(roles), "loss", "Viridis", "%{y} of layer %{x}: %{z:+.4g}")


def _heat(z: Any, x: Sequence[Any], y: Sequence[Any], unit: str, colours: str, hover: str) -> Figure:
    trace = {
        **{"type": "heatmap", "z": z, "x": list(x), "y": list(y), "colorscale": colours},
        **{"colorbar": {"title": {"text": unit}, "tickformat": ".2g"}, "hovertemplate": f"{hover}<extra></extra>"},
    }
    axes = {"xaxis": {"title": {"text": "layer"}}, "yaxis": {"autorange": "reversed"}}
    return {"data": [trace], "layout": {"height": 120 + 26 * min(len(y), 16), **axes}}


def _plain(z: Any) -> list[list[float | None]]:
    return [[round(float(v), 6) if np.isfinite(v) else None for v in row] for row in z]


def _colour(role: str) -> str:
    return CYCLE[BLOCK_ROLES.index(role) % len(CYCLE)]
