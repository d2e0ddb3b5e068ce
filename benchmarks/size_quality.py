"""Draws docs/data/size_quality.json: perplexity over bits per weight of the blocks' matrices, edgec beside others.

The figures in the file are measurements (docs/compression.md names the commands); nothing is measured here.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

DATA = Path(__file__).parent.parent / "docs/data/size_quality.json"
STYLES = {"edgec, as the chip runs it": ("o-", "#1a7f5a"), "edgec, 26 minutes of recovery": ("*", "#1a7f5a")}
OTHERS = [("s--", "#b3541e"), ("s:", "#999999"), ("^", "#5566aa")]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=DATA.parent.parent / "images/size-quality.png")
    options = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    data = json.loads(DATA.read_text())
    figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    others = iter(OTHERS)
    for series in data["series"]:
        marker, colour = STYLES.get(series["name"]) or next(others)
        best: dict[float, float] = {}
        for p in series["points"]:
            best[p["bits_per_weight"]] = min(p["perplexity"], best.get(p["bits_per_weight"], 1e9))
        size = 14 if marker == "*" else 6
        axes.plot(list(best), list(best.values()), marker, color=colour, label=series["name"], markersize=size)
    axes.axhline(data["dense"], color="black", linewidth=0.8, linestyle=(0, (1, 2)), label="float weights")
    axes.set_xlabel("bits per weight of the blocks' matrices, scales included")
    axes.set_ylabel(f"perplexity, {data['text'].split(',')[0]}")
    axes.set_title(f"{data['model']}: {data['text']}", fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(options.out, dpi=130)


if __name__ == "__main__":
    main()
