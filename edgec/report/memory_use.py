"""What each memory holds: use, headroom, an additive breakdown, and what is missing. Read off the plan's buffers.

A memory's use is its high-water mark: the end of its last buffer. The breakdown describes the peak step, that is,
among the steps at which the last byte is in use, the one with the most live bytes. Buffers that are alive at one step
never share a byte, so their sizes by kind, and `padding` for alignment and gaps, add up to the use exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from edgec.memory.plan import Buffer, Plan

KINDS = {
    "weight": "weights",
    "scale": "scales",
    "table": "tables",
    "kv": "kv",
    "state": "state",
    "activation": "activations",
    "scratch": "scratch",
    "stage": "staging",
    "code": "code",
    "data": "data",
    "stack": "stack",
}
PADDING = "padding"
LARGEST = 3  # users named for a memory that is too small


@dataclass(frozen=True)
class PeakStep:
    """The step at which a memory is fullest."""

    program: str
    step: int
    op: str
    source: str


@dataclass(frozen=True)
class User:
    """A buffer that takes part in a deficit."""

    name: str
    kind: str
    bytes: int


@dataclass(frozen=True)
class Deficit:
    """Bytes that a memory lacks under this plan; under any plan it lacks `at_least`.

    op is the peak step's ("" where only buffers that live for good take part), `largest` the biggest users then.
    """

    memory: str
    bytes: int
    at_least: int
    op: str
    largest: tuple[User, ...]


@dataclass(frozen=True)
class MemoryUse:
    """One memory: bytes it has, bytes up to the last one used, what is left (negative: missing), the least possible.

    gap_percent is how far the plan's data reach above their own bound; 0 where no placement takes less.
    peak is None where only buffers that live for good take part.
    """

    name: str
    capacity: int
    used: int
    headroom: int
    lower_bound: int
    gap_percent: float
    on_chip: bool
    peak: PeakStep | None


def memory_use(plan: Plan) -> tuple[list[MemoryUse], dict[str, dict[str, int]], list[Deficit]]:
    """Every memory of the target in its order, the breakdown by memory and kind, and the deficits."""
    memories, breakdown, deficits = [], {}, []
    for memory in plan.target.memories:
        used = plan.used_bytes(memory.name)
        bound = min(used, plan.lower_bound(memory.name))  # which rounds the last buffer up, as placement need not
        peak, alive = _peak(plan, memory.name, used)
        headroom = memory.capacity_bytes - used
        gap = _gap_percent(plan, memory.name)
        memories.append(MemoryUse(memory.name, memory.capacity_bytes, used, headroom, bound, gap, memory.on_chip, peak))
        breakdown[memory.name] = _by_kind(alive, used)
        if headroom < 0:
            largest = sorted(alive, key=lambda b: (-b.size, b.name))[:LARGEST]
            users = tuple(User(b.name, KINDS[b.kind], b.size) for b in largest)
            deficits.append(
                Deficit(memory.name, -headroom, max(0, bound - memory.capacity_bytes), peak.op if peak else "", users)
            )
    return memories, breakdown, deficits


def _gap_percent(plan: Plan, level: str) -> float:
    """Use over bound of what the planner placed; program and stack behind it would make the same gap look smaller."""
    used = plan.arena_bytes(level)
    data = [b for b in plan.buffers if b.offset < used]
    bound = replace(plan, buffers=data).lower_bound(level)
    return round(max(0.0, 100 * used / bound - 100), 2) if bound else 0.0


def _by_kind(alive: list[Buffer], used: int) -> dict[str, int]:
    sizes = dict.fromkeys(KINDS.values(), 0)
    for b in alive:
        sizes[KINDS[b.kind]] += b.size
    return sizes | {PADDING: used - sum(sizes.values())}


def _peak(plan: Plan, level: str, used: int) -> tuple[PeakStep | None, list[Buffer]]:
    """The peak step of a level and the buffers alive then."""
    always = [b for b in plan.buffers if b.level == level]
    best: tuple[bool, int] = (any(b.offset + b.size == used for b in always), 0)
    where, peak_alive = None, always
    for program in plan.programs.values():
        for step, alive in _alive_by_step([b for b in program.buffers if b.level == level]):
            reaches = best[0] if not where and best[0] else any(b.offset + b.size == used for b in [*always, *alive])
            rank = (reaches, sum(b.size for b in alive))
            if rank > best:
                best, peak_alive = rank, [*always, *alive]
                node = program.steps[step]
                where = PeakStep(program.name, step, node.op, node.source)
    return where, peak_alive


def _alive_by_step(buffers: list[Buffer]) -> Iterator[tuple[int, list[Buffer]]]:
    """(step, buffers alive) for every step at which a buffer begins: live bytes rise nowhere else."""
    alive: list[Buffer] = []
    for step, starting in groupby(sorted(buffers, key=lambda b: b.start), key=lambda b: b.start):
        alive = [b for b in alive if b.end > step] + list(starting)
        yield step, alive
