"""What every step of a run costs, in order: the cost model's numbers for the timeline, the roofline and the CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgec.cost.estimate import steps_usage
from edgec.cost.neureka import weight_passes
from edgec.memory.plan import Plan, Step, evaluate
from edgec.memory.repeat import unnamed
from edgec.ops import kernel


@dataclass(frozen=True)
class StepCost:
    """One step of a run: cycles from `start` on, multiply-accumulates, and per engine and link its busy cycles.

    Busy times overlap; `bottleneck` is the engine or link that is busy longest. link_bytes are those moved,
    streamed_bytes the weights that accelerators read where they lie.
    """

    node: str
    op: str
    source: str
    start: int
    cycles: int
    macs: int
    bottleneck: str
    busy: dict[str, int]
    link_bytes: dict[str, int]
    streamed_bytes: dict[str, int]


def step_costs(plan: Plan, name: str) -> tuple[StepCost, ...]:
    """The steps of a program's longest run at the end of the context; their cycles add up to the run's."""
    program = plan.programs[name]
    rows = min(program.rows, plan.context)
    position = plan.context - rows
    result, start = [], 0.0
    for step, usage in zip(program.steps, steps_usage(plan.target, program, rows, position), strict=True):
        macs, streamed = _work(step, rows, position)
        end = start + usage.cycles
        busy = {n: round(c) for n, c in usage.busy.items() if c}
        cost = StepCost(
            step.node,
            step.op,
            step.source,
            round(start),
            round(end) - round(start),
            macs,
            usage.bottleneck,
            busy,
            dict(usage.link_bytes),
            streamed,
        )
        result.append(cost)
        start = end
    return tuple(result)


def steps_csv(steps: Mapping[str, Sequence[StepCost]]) -> str:
    """A row for every step of every program; busy cycles, bytes and weights read in place have a column for each engine
    and link."""
    costs = [cost for each in steps.values() for cost in each]
    busy = list(dict.fromkeys(name for cost in costs for name in cost.busy))
    links = list(dict.fromkeys(name for cost in costs for name in cost.link_bytes))
    readers = list(dict.fromkeys(name for cost in costs for name in cost.streamed_bytes))
    stream = io.StringIO()
    out = csv.writer(stream, lineterminator="\n")
    plain = ["program", "step", "node", "op", "source", "start_cycle", "cycles", "macs", "waits_for"]
    moved = [*(f"{name} bytes" for name in links), *(f"{name} weight bytes" for name in readers)]
    out.writerow([*plain, *(f"{name} busy cycles" for name in busy), *moved])
    for program, each in steps.items():
        for index, c in enumerate(each):
            row = [program, index, c.node, c.op, c.source, c.start, c.cycles, c.macs, c.bottleneck]
            numbers = [*(c.link_bytes.get(n, 0) for n in links), *(c.streamed_bytes.get(n, 0) for n in readers)]
            out.writerow([*row, *(c.busy.get(n, 0) for n in busy), *numbers])
    return stream.getvalue()


def chrome_trace(steps: Mapping[str, Sequence[StepCost]], clock_hz: int) -> str:
    """The predicted timeline in the Trace Event Format that Perfetto and chrome://tracing open: a process for each
    program, a thread for each engine and link. Times are microseconds at the target's clock."""
    events: list[dict[str, Any]] = []
    scale = 1e6 / clock_hz
    for pid, (program, costs) in enumerate(steps.items(), 1):
        lanes = list(dict.fromkeys(name for cost in costs for name in cost.busy))
        events.append({"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": program}})
        for tid, lane in enumerate(lanes, 1):
            events.append({"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": lane}})
        for cost in costs:
            for lane, busy in cost.busy.items():
                args = {"op": cost.op, "source": cost.source, "cycles": busy, "bytes": cost.link_bytes.get(lane, 0)}
                span = {"ts": round(cost.start * scale, 4), "dur": round(min(busy, cost.cycles) * scale, 4)}
                place = {"pid": pid, "tid": lanes.index(lane) + 1}
                events.append({"ph": "X", "name": cost.node, "cat": cost.op, **place, **span, "args": args})
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}) + "\n"


def _work(step: Step, rows: int, position: int) -> tuple[int, dict[str, int]]:
    """Multiply-accumulates of a step's calls, and the bytes of weights that each accelerator reads for them."""
    macs, streamed = 0, dict[str, int]()
    for phase in unnamed(step.phases):
        call = phase.call
        if call is not None and (phase.when is None or phase.when.at(rows, position)):
            numbers: dict[str, Any] = {n: evaluate(v, rows, position) for n, v in call.numbers.items()}
            code = kernel(call.kernel)
            macs += code.work(numbers).macs
            if code.streamed:
                read = sum(region.size for role in code.streamed if (region := call.regions[role]))
                passes = weight_passes(call.kernel, numbers)
                streamed[call.engine] = streamed.get(call.engine, 0) + passes * read
    return macs, streamed
