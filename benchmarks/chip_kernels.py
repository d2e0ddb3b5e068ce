"""MAC per cycle of the kernels in plans, as predicted, beside what their engine could do at most.

Of every kernel and program the call with most multiply-accumulates stands for all, and besides the matrices of other
widths in its shape; of a token's matrices on N-EUREKA also the one with fewest that fills its lanes. Bounds: eight
cores that do nothing but dot products of four int8 pairs, and N-EUREKA by itself on a large matrix, of as many rows as
the call has where its form takes rows together.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from edgec.cost.engine import call_cycles
from edgec.cost.neureka import grid_of, peak_macs
from edgec.memory.plan import Plan, Program, evaluate
from edgec.neureka.cycles import job_cycles
from edgec.neureka.job import rows_job
from edgec.neureka.matrix import BLOCK
from edgec.ops import kernel
from edgec.ops.matmul_w4a8 import bits_of
from edgec.ops.matmul_w4a8_neureka import mode_of
from edgec.target import Target

DOT_PRODUCT = 4  # int8 pairs of one instruction
LARGE = 1024  # inputs and outputs of the matrix for N-EUREKA's bound
WIDTHS = (2, 4, 8)
PLAIN = re.compile(r"matmul_w\d+a8(_neureka)?")  # whose siblings of other widths take the same numbers


@dataclass(frozen=True)
class Rate:
    """A call: work by cycles, the bound of both, and whether the cycles were fitted to measured ones."""

    kernel: str
    program: str
    model: str
    shape: str
    macs: int
    cycles: float
    macs_per_cycle: float
    bound: float
    ratio: float
    figures: str


def rates(plans: Mapping[str, Plan]) -> list[Rate]:
    """The largest call of each kernel in decode and prefill at the end of the context, over all plans by name; of
    N-EUREKA's matrices of one row behind it the smallest one of a whole block of inputs and as many outputs.
    """
    calls: defaultdict[tuple[str, str], list[tuple[int, str, dict[str, Any]]]] = defaultdict(list)
    for model, plan in plans.items():
        for name in ("decode", "prefill"):
            for called, numbers in _calls(plan, plan.programs[name]):
                if macs := kernel(called).work(numbers).macs:
                    calls[called, name].append((macs, model, numbers))
    result = []
    for (called, program), found in sorted(calls.items()):
        most, model, numbers = max(found, key=itemgetter(0))
        for sibling in _widths(called):
            if sibling == called or (sibling, program) not in calls:
                result.append(rate(plans[model].target, sibling, program, model, numbers))
        if program == "decode" and called.endswith("_neureka") and PLAIN.fullmatch(called):
            filling = (c for c in found if min(c[2]["n"], c[2]["k"]) >= BLOCK and c[0] < most)
            if smallest := min(filling, key=itemgetter(0), default=None):
                result.append(rate(plans[smallest[1]].target, called, program, *smallest[1:]))
    return result


def rate(target: Target, name: str, program: str, model: str, numbers: dict[str, Any]) -> Rate:
    """The rate of one call."""
    macs, cycles = kernel(name).work(numbers).macs, call_cycles(target, name, numbers)
    highest = bound(target, name, numbers["m"])
    fitted = bool(kernel(name).engine) or target.engines[0].cost_of(name) is not None
    figures = "fitted" if fitted else "estimate"
    return Rate(
        name, program, model, shape(numbers), macs, cycles, macs / cycles, highest, macs / cycles / highest, figures
    )


def bound(target: Target, name: str, rows: int) -> float:
    """The most MAC per cycle of a kernel's engine."""
    if not kernel(name).engine:
        return float(DOT_PRODUCT * target.engines[0].cores)
    if mode_of(name) == "3x3":
        return peak_macs(bits_of(name))
    height, width = grid_of(rows)
    return rows * LARGE * LARGE / job_cycles(rows_job(0, 0, 0, (height, width), LARGE, LARGE, bits_of(name)))


def shape(numbers: Mapping[str, Any]) -> str:
    """Rows x outputs x inputs of a matrix; rows, heads and cached positions of attention."""
    if "n_heads" not in numbers:
        return f"{numbers['m']} x {numbers['n']} x {numbers['k']}"
    seen = numbers["count"] if "count" in numbers else numbers["pos"] + numbers["m"]
    return f"{numbers['m']} x {numbers['n_heads']} heads of {numbers['head_dim']}, {seen} cached"


def _calls(plan: Plan, program: Program) -> list[tuple[str, dict[str, Any]]]:
    """Kernels and numbers of the calls of a program's longest run at the end of the context."""
    rows = min(program.rows, plan.context)
    at = plan.context - rows
    calls = [p for step in program.steps for p in step.phases if p.call and (p.when is None or p.when.at(rows, at))]
    return [(p.call.kernel, {k: evaluate(v, rows, at) for k, v in p.call.numbers.items()}) for p in calls if p.call]


def _widths(name: str) -> list[str]:
    """The kernel and, of a plain matrix, those of other widths."""
    if not PLAIN.fullmatch(name):
        return [name]
    return [re.sub(r"w\d+", f"w{bits}", name) for bits in sorted({*WIDTHS, bits_of(name)})]
