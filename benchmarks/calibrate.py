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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from edgec.artifact import Artifact
from edgec.cost.engine import busiest_core
from edgec.memory.plan import Phase, Plan, evaluate
from edgec.ops import kernel
from edgec.target import Target

# Of 1 call, of one for any number of rows, and of `busiest_core`'s counts.
COLUMNS = ("call_cycles", "any_rows_cycles", "unit_cycles", "mac_cycles", "flop_cycles")


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


def step_rows(run: Mapping[str, Any], plan: Plan) -> Iterator[tuple[dict[str, list[float]], float]]:
    """Of each step of a run that its calls decide: the counts of each kernel, and its cycles without the transfers'."""
    engine, m, pos = plan.target.engines[0], run["rows"], run["position"]
    for step, cycles in zip(plan.programs[run["program"]].steps, run["cycles"], strict=True):
        calls = [p.call for p in step.phases if p.call is not None and (p.when is None or p.when.at(m, pos))]
        moved = [link_cycles(plan.target, p, m, pos) for p in step.phases]
        if sum(c for c, _ in moved) > 0.3 * cycles or any(kernel(call.kernel).engine for call in calls):
            continue  # transfers may be what limits, or an accelerator
        counts: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(COLUMNS))
        for call in calls:
            numbers = {k: evaluate(v, m, pos) for k, v in call.numbers.items()}
            found = (1, call.any_rows, *busiest_core(engine, call.kernel, numbers))
            counts[call.kernel] = [a + b for a, b in zip(counts[call.kernel], found, strict=True)]
        yield counts, cycles - sum(n for _, n in moved) * engine.transfer_cycles


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    options = parser.parse_args()
    plans: dict[str, Plan] = {}
    samples: list[tuple[dict[str, list[float]], float]] = []
    for run in json.loads(options.runs.read_text()):
        plan = plans.setdefault(run["out"], Artifact.load(Path(run["out"])).plan)
        samples += step_rows(run, plan)
    # Kernels that share steps are fitted together: all at once.
    names = sorted({name for counts, _ in samples for name in counts})
    x = np.zeros((len(samples), len(names), len(COLUMNS)))
    for i, (counts, _) in enumerate(samples):
        for name, row in counts.items():
            x[i, names.index(name)] = row
    y = np.array([cycles for _, cycles in samples])
    scale = np.maximum(x.max(axis=0), 1)
    weight = 1 / np.maximum(y, 1)
    fitted, _ = nnls((x / scale).reshape(len(y), -1) * weight[:, None], y * weight)
    costs = fitted.reshape(scale.shape) / scale
    error = np.einsum("inc,nc->i", x, costs) / y - 1
    for j, name in enumerate(names):
        mine = error[x[:, j].any(axis=1)]
        print(f"[[engine.measured]]  # {len(mine)} steps, off by {mine.min():+.0%} to {mine.max():+.0%}")
        print(f"kernels = {json.dumps([name])}")
        for column, value in zip(COLUMNS, costs[j], strict=True):
            print(f"{column} = {value:.4g}")
        print()


if __name__ == "__main__":
    main()
