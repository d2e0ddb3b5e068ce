"""Fits a target's measured kernel costs to cycles of every step, which a build with EDGEC_PROFILE prints.

    python benchmarks/calibrate.py RUNS.json

RUNS.json is a list of {"out": a folder that edgec built, "program": "decode" or "prefill", "rows": m, "position": the
first row's, "cycles": those of each step in order}. Prints [[engine.measured]] tables for the target file, and beside
each how far it is from its steps. Costs are fitted without negative ones, each step weighted by its own length, so that
short and long ones count alike.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from edgec.artifact import Artifact
from edgec.cost.engine import SEARCH_MACS
from edgec.memory.plan import Phase, evaluate
from edgec.ops import kernel
from edgec.target import Target

COLUMNS = ("call_cycles", "unit_cycles", "mac_cycles", "flop_cycles")


def counts(target: Target, name: str, numbers: dict[str, Any]) -> list[float]:
    """What edgec/cost/engine.py multiplies with a kernel's costs, in the order of COLUMNS."""
    work, cores = kernel(name).work(numbers), target.engines[0].cores
    busy = min(cores, max(1, work.parallel))
    units = -(-work.parallel // busy)
    share = units / max(1, work.parallel)
    macs = work.macs + SEARCH_MACS * work.searches
    return [1.0, float(units), share * macs, share * work.flops + -(-work.rows // busy) * work.row_flops]


def link_cycles(target: Target, phase: Phase, m: int, pos: int) -> tuple[float, int]:
    """The longest channel's cycles and the number of transfers of a phase."""
    lanes: dict[str, float] = defaultdict(float)
    programmed = 0
    for t in phase.transfers:
        rows = int(evaluate(t.rows, m, pos))
        if rows:
            link = target.link_by_name[t.link]
            lanes[link.lane] += link.cycles(rows * t.row_bytes)
            programmed += rows if t.start == "token" else 1
    return max(lanes.values(), default=0.0), programmed


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    options = parser.parse_args()
    samples: dict[tuple[str, ...], list[tuple[list[float], float]]] = defaultdict(list)
    for run in json.loads(options.runs.read_text()):
        plan = Artifact.load(Path(run["out"])).plan
        for step, cycles in zip(plan.programs[run["program"]].steps, run["cycles"], strict=True):
            m, pos = run["rows"], run["position"]
            calls = [p for p in step.phases if p.call is not None and (p.when is None or p.when.at(m, pos))]
            names = {p.call.kernel for p in calls if p.call}
            moved = [link_cycles(plan.target, p, m, pos) for p in step.phases]
            if len(names) != 1 or sum(c for c, _ in moved) > 0.3 * cycles:
                continue  # several kernels, or transfers may be what limits
            (name,) = names
            if kernel(name).engine:
                continue
            row = [0.0] * len(COLUMNS)
            for p in calls:
                assert p.call is not None
                numbers = {k: evaluate(v, m, pos) for k, v in p.call.numbers.items()}
                row = [a + b for a, b in zip(row, counts(plan.target, name, numbers), strict=True)]
            programming = sum(n for _, n in moved) * plan.target.engines[0].transfer_cycles
            samples[(name,)].append((row, cycles - programming))
    for fitted_names, rows in sorted(samples.items()):
        x, y = np.array([r for r, _ in rows]), np.array([c for _, c in rows])
        weight = 1 / np.maximum(y, 1)
        scale = np.maximum(x.max(axis=0), 1)
        fitted, _ = nnls(x / scale * weight[:, None], y * weight)
        fitted /= scale
        error = x @ fitted / y - 1
        print(f"[[engine.measured]]  # {len(rows)} steps, off by {error.min():+.0%} to {error.max():+.0%}")
        print(f"kernels = {json.dumps(list(fitted_names))}")
        for column, value in zip(COLUMNS, fitted, strict=True):
            print(f"{column} = {value:.4g}")
        print()


if __name__ == "__main__":
    main()
