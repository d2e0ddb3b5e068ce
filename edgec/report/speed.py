"""Predicted speed of one run of a program, by op and by what holds it up: the cost model's numbers, added up once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgec.cost.estimate import Usage, phase_usage, places_before, program_usage
from edgec.memory.plan import Plan
from edgec.memory.repeat import unnamed


@dataclass(frozen=True)
class OpCost:
    """All steps of one op: cycles, share of the run, and the engine or link that they keep busy longest."""

    op: str
    steps: int
    cycles: int
    share: float
    bottleneck: str


@dataclass(frozen=True)
class Speed:
    """One run: `rows` tokens from `position` on. Cycles are whole runs', bytes too.

    engine_cycles and link_cycles are busy times, which overlap. bound_by adds up to `cycles`: every phase counts for
    the engine or link that it waits for longest. by_op adds up to `cycles` too.
    """

    position: int
    rows: int
    cycles: int
    tokens_per_second: float
    bottleneck: str
    engine_cycles: Mapping[str, int]
    link_cycles: Mapping[str, int]
    link_bytes: Mapping[str, int]
    bound_by: Mapping[str, int]
    by_op: tuple[OpCost, ...]


def speed(plan: Plan, name: str) -> Speed:
    """Speed of a program's longest run at the end of the context, which is its slowest."""
    program, target = plan.programs[name], plan.target
    rows = min(program.rows, plan.context)
    position = plan.context - rows
    places = places_before(program, rows, position)
    total, by_op, steps, bound = Usage(), dict[str, Usage](), dict[str, int](), dict[str, float]()
    for step in program.steps:
        steps[step.op] = steps.get(step.op, 0) + 1
        for phase in unnamed(step.phases):
            usage = phase_usage(target, phase, rows, position, places)
            total.add(usage)
            by_op.setdefault(step.op, Usage()).add(usage)
            if usage.busy:
                bound[usage.bottleneck] = bound.get(usage.bottleneck, 0.0) + usage.cycles
    cycles = rounded({op: usage.cycles for op, usage in by_op.items()})
    costs = [
        OpCost(op, steps[op], cycles[op], round(usage.cycles / (total.cycles or 1.0), 6), usage.bottleneck)
        for op, usage in by_op.items()
    ]
    busy = {n: round(c) for n, c in total.busy.items()}
    return Speed(
        position,
        rows,
        round(total.cycles),
        round(rows * target.clock_hz / total.cycles, 6) if total.cycles else 0.0,
        total.bottleneck,
        {name: busy.get(name, 0) for name in target.engine_names},
        {n: c for n, c in busy.items() if n in target.link_by_name},
        dict(total.link_bytes),
        rounded(bound),
        tuple(sorted(costs, key=lambda c: (-c.cycles, c.op))),
    )


@dataclass(frozen=True)
class TextTime:
    """What a text of so many tokens takes an encoder, predicted."""

    tokens: int
    cycles: int
    milliseconds: float


def text_times(plan: Plan) -> tuple[TextTime, ...]:
    """Texts of 16, 32, ... tokens and the longest one; nothing for a model that continues text."""
    if "encode" not in plan.programs:
        return ()
    lengths = [n for n in (16, 32, 64, 128, 256, 512) if n < plan.context] + [plan.context]
    times = []
    for tokens in lengths:
        cycles = encoding_cycles(plan, tokens)
        times.append(TextTime(tokens, round(cycles), round(1000 * cycles / plan.target.clock_hz, 6)))
    return tuple(times)


def encoding_cycles(plan: Plan, tokens: int) -> float:
    """Predicted cycles of a text: every step runs for all of its rows."""
    program = plan.programs["encode"]
    runs = [(min(program.rows, tokens - start), start) for start in range(0, tokens, program.rows)]
    return sum(program_usage(plan, program, m, start).cycles for m, start in runs)


def rounded(parts: Mapping[str, float]) -> dict[str, int]:
    """Integers within one of the parts, whose sum is the rounded sum: tables of them add up."""
    result, exact, given = {}, 0.0, 0
    for name, part in parts.items():
        exact += part
        result[name] = round(exact) - given
        given = round(exact)
    return result
