"""Draws docs/data/stages.json, measured by benchmarks/stages.py: perplexity by stage and size, around recovery."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent.parent / "docs/data/stages.json"
WHEN = ("before", "after")
MARKS = "osD^v<>phX*Pd"
LEFT_OUT = ("dense",)
HIGHEST = 20_000  # perplexity; what lies above all through is named below the picture, as it would flatten the rest


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, default=DATA.parent.parent / "images/stages.png")
    options = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = json.loads(DATA.read_text())
    dense = next(record for record in found if record["row"] == "dense")
    names = sorted({record["row"] for record in found} - set(LEFT_OUT))
    lowest = {n: min(r.get(when, HIGHEST) for r in found if r["row"] == n for when in WHEN) for n in names}
    beyond = [name for name in names if lowest[name] >= HIGHEST]
    names = [name for name in names if name not in beyond]
    colours = plt.get_cmap("tab20").colors
    figure, panels = plt.subplots(1, 2, figsize=(11, 5.2), layout="constrained", sharey=True)
    for panel, when, title in zip(panels, WHEN, ("as the stage leaves it", "after recovery"), strict=True):
        for number, name in enumerate(names):
            points = sorted(
                ((100 * record["share"], record[when]) for record in found if record["row"] == name and when in record),
                reverse=True,
            )
            if points:
                style: dict[str, Any] = {"marker": MARKS[number % len(MARKS)], "color": colours[number % len(colours)]}
                panel.plot(*zip(*points, strict=True), label=name, linewidth=1.2, markersize=6, **style)
        panel.axhline(dense["before"], color="black", linewidth=0.8, linestyle=(0, (1, 2)))
        panel.set_yscale("log")
        panel.set_ylim(20, HIGHEST)
        panel.invert_xaxis()
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("stored parameters that are not zero, % of the dense model's")
        panel.grid(alpha=0.25)
    if beyond:
        figure.supxlabel(f"beyond {HIGHEST:,} at every size, without recovery: {', '.join(beyond)}", fontsize=9)
    panels[0].set_ylabel("perplexity (dotted: the dense model)")
    handles = {
        label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside right center", frameon=False, fontsize=9)
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
