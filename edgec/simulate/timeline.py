"""What a simulated program did when: every transfer on its link, every kernel call on its engine, as they were done.

The clock is the cost model's (edgec/cost/estimate.py): in a phase the first core programs the transfers, then DMA
channels and engine work side by side, each channel one transfer after another; the phase ends when the last is done.
The simulator reports each thing as it carries it out, so what the plan predicts and what was done can be compared to
the cycle.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgec.chip import Engine
from edgec.cost.engine import call_cycles, transfers_cycles
from edgec.cost.estimate import Usage, bank_cycles, places_before
from edgec.cost.neureka_places import Places, starts_jobs
from edgec.memory.plan import Call, Program, Step, Transfer
from edgec.output import write_file
from edgec.target import Target

CONTROL = "control"  # the lane of the core that programs transfers


@dataclass(frozen=True)
class Event:
    """Something that took cycles [start, end) of a lane: a link, an engine, or the core that programs transfers."""

    run: int
    program: str
    step: int
    node: str
    op: str
    lane: str
    what: str  # the value moved, or the kernel called
    start: float
    end: float
    nbytes: int = 0


@dataclass(frozen=True)
class StepTime:
    """A step of a run: its cycles, what each lane was busy, and how long the engines stood still."""

    run: int
    program: str
    step: int
    node: str
    op: str
    start: float
    cycles: float
    stall: float
    busy: Mapping[str, float]
    link_bytes: Mapping[str, int]


@dataclass
class Timeline:
    """Events of all runs, one run after another, in cycles of the target's clock."""

    target: Target
    events: list[Event] = field(default_factory=list)
    now: float = 0.0
    run: int = -1
    _spans: list[tuple[int, Step, str, float, float]] = field(default_factory=list)  # of phases
    _pending: list[tuple[str, str, float, int]] = field(default_factory=list)  # lane, what, cycles, bytes
    _programmed: int = 0
    _moved: int = 0  # bytes into or out of the compute memory
    _engine: Engine | None = None
    _called: float = 0.0  # cycles of the call
    _call: tuple[Call | None, Mapping[str, int | float]] = field(default=(None, {}))
    _places: Places = field(default_factory=Places)

    def begin_run(self, program: Program, m: int, pos: int) -> None:
        """What follows belongs to a new run of a program, of m rows from position pos on."""
        self.run += 1
        self._places = places_before(program, m, pos)

    def transfer(self, t: Transfer, rows: int) -> None:
        """A transfer was carried out in the present phase."""
        link = self.target.link_by_name[t.link]
        size = rows * t.row_bytes
        gather = t.start == "token"  # each row is a transfer of its own
        self._programmed += rows if gather else 1
        cycles = rows * link.cycles(t.row_bytes) if gather else link.cycles(size)
        self._moved += size * (link.source, link.destination).count(self.target.compute)
        self._pending.append((link.name, t.source.value, cycles, size))

    def call(self, call: Call, numbers: Mapping[str, int | float]) -> None:
        """A kernel was called in the present phase."""
        self._call = call, numbers
        self._engine = next((e for e in self.target.engines if e.name == call.engine), None)
        lacks = self._places.call(call.kernel, numbers) if starts_jobs(call.kernel) else ()
        self._called = call_cycles(self.target, call.kernel, numbers, call.any_rows, lacks)
        self._pending.append((call.engine, call.kernel, self._called, 0))

    def end_phase(self, program: str, step: Step) -> None:
        """The phase is over: its events get their times."""
        begin = self.now + transfers_cycles(self.target, self._programmed, *self._call)
        end, free = begin, dict[str, float]()
        if begin > self.now:
            self._add(program, step, CONTROL, "transfers", self.now, begin, 0)
        if taken := bank_cycles(self.target, self._moved, self._engine, self._called):
            self._pending.append((self.target.memory_by_name[self.target.compute].banks, "accesses", taken, 0))
        for lane, what, cycles, size in self._pending:
            channel = self.target.link_by_name[lane].lane if lane in self.target.link_by_name else lane
            start = free.get(channel, begin)
            free[channel] = start + cycles
            end = max(end, free[channel])
            self._add(program, step, lane, what, start, free[channel], size)
        self._spans.append((self.run, step, program, self.now, end))
        self.now, self._pending, self._programmed = end, [], 0
        self._moved, self._engine, self._called, self._call = 0, None, 0.0, (None, {})

    def _add(self, program: str, step: Step, lane: str, what: str, start: float, end: float, size: int) -> None:
        self.events.append(Event(self.run, program, step.index, step.node, step.op, lane, what, start, end, size))

    def usage(self, run: int = -1) -> Usage:
        """A run's cycles, and what they were spent on; by default the last run's."""
        wanted = self.run if run < 0 else run
        total = Usage(sum(end - start for number, _, _, start, end in self._spans if number == wanted))
        for e in self.events:
            if e.run == wanted and e.lane != CONTROL:
                total.busy[e.lane] = total.busy.get(e.lane, 0.0) + e.end - e.start
                if e.nbytes:
                    total.link_bytes[e.lane] = total.link_bytes.get(e.lane, 0) + e.nbytes
        return total

    def steps(self) -> list[StepTime]:
        """Every step of every run, in order."""
        engines = set(self.target.engine_names)
        spans: dict[tuple[int, int], list[Any]] = {}
        for run, step, program, start, end in self._spans:
            known = spans.setdefault((run, step.index), [step, program, start, end])
            known[3] = end
        busy: dict[tuple[int, int], dict[str, float]] = {key: {} for key in spans}
        moved: dict[tuple[int, int], dict[str, int]] = {key: {} for key in spans}
        for e in self.events:
            key = (e.run, e.step)
            busy[key][e.lane] = busy[key].get(e.lane, 0.0) + e.end - e.start
            if e.nbytes:
                moved[key][e.lane] = moved[key].get(e.lane, 0) + e.nbytes
        result = []
        for key, (step, program, start, end) in spans.items():
            worked = sum(cycles for lane, cycles in busy[key].items() if lane in engines)
            stall = max(0.0, end - start - worked)
            at = (key[0], program, step.index, step.node, step.op)
            result.append(StepTime(*at, start, end - start, stall, busy[key], moved[key]))
        return result


def recorded(simulator: Any) -> Timeline:
    """A timeline that this simulator writes from now on."""
    timeline = Timeline(simulator.plan.target)
    simulator.timeline = timeline
    return timeline


def write_timeline(path: Path, timeline: Timeline) -> None:
    """Write a .csv, or a trace for Perfetto under any other name. Raises OutputError if that cannot be done."""
    write_file(path, timeline_csv(timeline) if path.suffix == ".csv" else timeline_trace(timeline))


def timeline_csv(timeline: Timeline) -> str:
    """A row for every event: run, program, step, node, op, lane, what, cycles it began and ended at, bytes."""
    stream = io.StringIO()
    out = csv.writer(stream, lineterminator="\n")
    out.writerow(["run", "program", "step", "node", "op", "lane", "what", "start_cycle", "end_cycle", "bytes"])
    for e in timeline.events:
        place = [e.run, e.program, e.step, e.node, e.op, e.lane, e.what]
        out.writerow([*place, round(e.start, 3), round(e.end, 3), e.nbytes])
    return stream.getvalue()


def timeline_trace(timeline: Timeline) -> str:
    """The events in the Trace Event Format that Perfetto opens: a thread for each lane, and one for the steps.

    Times are microseconds at the target's clock.
    """
    scale = 1e6 / timeline.target.clock_hz
    lanes = ["steps", *dict.fromkeys(e.lane for e in timeline.events)]
    events: list[dict[str, Any]] = [{"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "simulation"}}]
    for tid, lane in enumerate(lanes):
        events.append({"ph": "M", "name": "thread_name", "pid": 1, "tid": tid, "args": {"name": lane}})

    def span(name: str, kind: str, lane: str, start: float, cycles: float, args: dict[str, Any]) -> dict[str, Any]:
        times = {"ts": round(start * scale, 4), "dur": round(cycles * scale, 4)}
        return {"ph": "X", "name": name, "cat": kind, "pid": 1, "tid": lanes.index(lane), **times, "args": args}

    for s in timeline.steps():
        args = {"run": s.run, "program": s.program, "step": s.step, "op": s.op, "stall_cycles": round(s.stall, 3)}
        events.append(span(s.node, s.op, "steps", s.start, s.cycles, args))
    for e in timeline.events:
        args = {"run": e.run, "step": e.step, "node": e.node, "bytes": e.nbytes}
        events.append(span(e.what, e.op, e.lane, e.start, e.end - e.start, args))
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}) + "\n"
