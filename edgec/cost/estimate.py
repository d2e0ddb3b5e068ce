"""Predicted time of phases, steps and programs: what the report prints and the planner minimises.

Within a phase the engine and every DMA channel work side by side, each channel one transfer after another, whatever
links it serves; the phase takes as long as the slowest of them, and the first core's time to program the transfers
before. The compute memory's banks are a resource like them, which transfers and the engine share. Phases follow each
other.
Nothing is simulated: the numbers follow from the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edgec.chip import Engine
from edgec.cost.engine import call_cycles, transfers_cycles
from edgec.cost.neureka_places import Places, behind, starts_jobs
from edgec.memory.plan import Phase, Plan, Program, evaluate
from edgec.memory.repeat import unnamed
from edgec.target import Target


@dataclass
class Usage:
    """Cycles of a run and what they were spent on: busy cycles per engine and link, bytes per link."""

    cycles: float = 0.0
    busy: dict[str, float] = field(default_factory=dict)
    link_bytes: dict[str, int] = field(default_factory=dict)

    def add(self, other: Usage) -> None:
        """Accumulate another run behind this one."""
        self.cycles += other.cycles
        for name, value in other.busy.items():
            self.busy[name] = self.busy.get(name, 0.0) + value
        for name, size in other.link_bytes.items():
            self.link_bytes[name] = self.link_bytes.get(name, 0) + size

    @property
    def bottleneck(self) -> str:
        """The engine or link that is busy longest."""
        return max(self.busy, key=lambda name: self.busy[name], default="")


def bank_cycles(target: Target, moved: int, engine: Engine | None, cycles: float) -> float:
    """Cycles for which the compute memory's banks are taken: bytes moved into or out of it, and an engine's accesses.

    0 where the banks' rate is unknown.
    """
    rate = target.memory_by_name[target.compute].bytes_per_cycle
    accessed = cycles * engine.memory_bytes_per_cycle if engine is not None else 0.0
    return (moved + accessed) / rate if rate else 0.0


def phase_usage(target: Target, phase: Phase, m: int, pos: int, places: Places | None = None) -> Usage:
    """Cost of one phase in a run of m rows at position pos.

    places: what an accelerator's places hold before it, and then behind it. None: its call is behind one like it.
    """
    usage = Usage()
    channels: dict[str, float] = {}
    programmed = moved = 0
    engine = None
    for t in phase.transfers:
        rows = int(evaluate(t.rows, m, pos))
        if not rows:
            continue
        programmed += rows if t.start == "token" else 1
        link = target.link_by_name[t.link]
        size = rows * t.row_bytes
        single = rows * link.cycles(t.row_bytes) if t.start == "token" else link.cycles(size)
        usage.busy[link.name] = usage.busy.get(link.name, 0.0) + single
        channels[link.lane] = channels.get(link.lane, 0.0) + single
        usage.link_bytes[link.name] = usage.link_bytes.get(link.name, 0) + size
        moved += size * (link.source, link.destination).count(target.compute)
    call = phase.call if phase.when is None or phase.when.at(m, pos) else None
    numbers: dict[str, int | float] = {}
    if call is not None:
        engine = target.engine_by_name.get(call.engine)
        numbers = {name: evaluate(value, m, pos) for name, value in call.numbers.items()}
        lacks = places.call(call.kernel, numbers) if places and starts_jobs(call.kernel) else ()
        cycles = call_cycles(target, call.kernel, numbers, call.any_rows, lacks)
        usage.busy[call.engine] = channels[call.engine] = cycles
    if taken := bank_cycles(target, moved, engine, channels[engine.name] if engine else 0.0):
        banks = target.memory_by_name[target.compute].banks
        usage.busy[banks] = channels[banks] = taken
    usage.cycles = max(channels.values(), default=0.0) + transfers_cycles(target, programmed, call, numbers)
    return usage


def phases_usage(target: Target, phases: Sequence[Phase], m: int, pos: int, places: Places | None = None) -> Usage:
    """Cost of phases in a row. places: as phase_usage's."""
    usage = Usage()
    for phase in unnamed(phases):
        usage.add(phase_usage(target, phase, m, pos, places))
    return usage


def steps_usage(target: Target, program: Program, m: int, pos: int) -> Iterator[Usage]:
    """Cost of each step of a run of a program, in order."""
    places = places_before(program, m, pos)
    for step in program.steps:
        yield phases_usage(target, step.phases, m, pos, places)


def program_usage(plan: Plan, program: Program, m: int, pos: int) -> Usage:
    """Cost of one run of a program: of its steps."""
    usage = Usage()
    for step in steps_usage(plan.target, program, m, pos):
        usage.add(step)
    return usage


def longest_run(target: Target, context: int, program: Program) -> float:
    """Predicted cycles of the program's longest run at the end of the context."""
    return sum(usage.cycles for usage in steps_usage(target, program, program.rows, context - program.rows))


def places_before(program: Program, m: int, pos: int) -> Places:
    """What an accelerator's places hold before a run: what one of the same program leaves."""

    def calls() -> Iterator[tuple[str, Mapping[str, int | float]]]:
        for step in reversed(program.steps):
            for phase in reversed(unnamed(step.phases)):
                call = phase.call
                if call is None or not starts_jobs(call.kernel):
                    continue
                if phase.when is None or phase.when.at(m, pos):
                    yield call.kernel, {name: evaluate(value, m, pos) for name, value in call.numbers.items()}

    return behind(calls())
