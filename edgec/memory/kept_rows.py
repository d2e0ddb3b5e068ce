"""Rows of a table that stay: all layers of a run read the same rows, so they are loaded once, as the run begins.

A table by position, RoPE's angles, gives every layer the rows of the run's positions. Planned by itself, each step
loads them into a slot of its own. Here those loads are left out. The first step of the sweep brings the rows beside
what it loads anyway, and their slot lives as long as the sweep: so the steps of all layers stay equal and share code.
Another sweep over a text is about other positions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from edgec.memory.compaction import relocate
from edgec.memory.offsets import Placed
from edgec.memory.plan import Buffer, Number, Phase, Program, Region, Step, Transfer, rows_at_run
from edgec.ops import kernel

Place = tuple[str, int]  # level, offset


class Rows(NamedTuple):
    """Which rows a load brings: equal ones are the same bytes in all steps of a run."""

    source: Region
    row_bytes: int
    rows: Number


class Load(NamedTuple):
    """A load of rows: its transfers, one a hop; where they are: phase, number in it; the numbers of their slots."""

    transfers: tuple[Transfer, ...]
    where: tuple[tuple[int, int], ...]
    slots: tuple[int, ...]


@dataclass
class Kept:
    """A program in which rows stay. It is sound only once it is `placed` and its rows are `brought`.

    taken: for each buffer that the program had before, the number of the one in `program` that has its bytes now.
    loads: by the step that brings them, with the numbers of their slots in `program`.
    """

    program: Program
    taken: Sequence[int]
    loads: Sequence[tuple[int, Load]] = ()

    def placed(self, before: Program, buffers: list[Buffer], how: dict[str, Placed]) -> Program:
        """The program with `buffers`, its own at other offsets or longer alive.

        before: as it was; how: what is noted of the search.
        """
        was = replace(before, steps=self.program.steps)
        moved = relocate(was, [buffers[number] for number in self.taken], how)
        return replace(moved, buffers=buffers)

    def brought(self, program: Program) -> Program:
        """The placed program with each load in its step: hop by hop beside the first phases, behind them if it is
        longer."""
        steps = list(program.steps)
        for index, load in self.loads:
            phases = list(steps[index].phases)
            here: Region | None = None
            for number, (t, slot) in enumerate(zip(load.transfers, load.slots, strict=True)):
                there = replace(t.target, offset=program.buffers[slot].offset)
                moved = replace(t, source=here or t.source, target=there)
                here = there
                if number < len(phases):
                    phases[number] = replace(phases[number], transfers=(*phases[number].transfers, moved))
                else:
                    phases.append(Phase((moved,)))
            steps[index] = replace(steps[index], phases=tuple(phases))
        return replace(program, steps=steps)


def unchanged(program: Program) -> Kept:
    """The program as it is."""
    return Kept(program, range(len(program.buffers)))


def keep_rows(program: Program, constants: Collection[str], compute: str) -> Kept | None:
    """The program with rows that several steps load brought once; None if there are none."""
    buffers, steps = list(program.buffers), list(program.steps)
    slots: dict[int, dict[Place, int]] = {}
    for number, b in enumerate(buffers):
        if b.end == b.start + 1:
            slots.setdefault(b.start, {})[b.level, b.offset] = number
    heir: dict[int, int] = {}  # by number of a slot that is given up, the one that stays
    kept: list[tuple[int, Load]] = []
    for begin, end in program.sweeps:
        found: dict[Rows, list[tuple[int, Load]]] = {}
        for step in program.steps[begin:end]:
            for load in _loads(step, slots.get(step.index, {}), buffers, constants, compute):
                what = Rows(load.transfers[0].source, load.transfers[0].row_bytes, load.transfers[0].rows)
                found.setdefault(what, []).append((step.index, load))
        for (source, _, _), loads in found.items():
            if len(loads) == 1 or loads[0][0] == begin:
                continue
            for index, load in loads:
                steps[index] = replace(steps[index], phases=without(program.steps[index].phases, load.where))
                heir |= dict(zip(load.slots, loads[0][1].slots, strict=True)) if index != loads[0][0] else {}
            *stages, rows = loads[0][1].slots
            for number in stages:
                buffers[number] = replace(buffers[number], start=begin, end=begin + 1)
            buffers[rows] = replace(buffers[rows], name=rows_at_run(source.value), start=begin, end=end)
            kept.append((begin, loads[0][1]))
    if not kept:
        return None
    left = [number for number in range(len(buffers)) if number not in heir]
    now = {number: at for at, number in enumerate(left)}
    loads = [(begin, load._replace(slots=tuple(now[number] for number in load.slots))) for begin, load in kept]
    taken = [now[heir.get(number, number)] for number in range(len(buffers))]
    return Kept(Program(program.name, program.rows, steps, [buffers[number] for number in left]), taken, loads)


def _loads(
    step: Step, slots: Mapping[Place, int], buffers: list[Buffer], constants: Collection[str], compute: str
) -> list[Load]:
    """The step's loads of rows of constants at the run's position, if each hop is one transfer into a slot that nothing
    else in the step writes."""
    moves = [((p, i), t) for p, phase in enumerate(step.phases) for i, t in enumerate(phase.transfers)]
    written = [_place(t.target) for _, t in moves] + [_place(r) for r in results(step.phases)]
    found = []
    for move in moves:
        if move[1].start != "source_pos" or move[1].source.value not in constants:
            continue
        chain = [move]
        while chain[-1][1].target.level != compute:
            hops = [hop for hop in moves if _place(hop[1].source) == _place(chain[-1][1].target)]
            if len(hops) != 1:
                break
            chain += hops
        places = [_place(t.target) for _, t in chain]
        if places[-1][0] != compute or any(place not in slots or written.count(place) != 1 for place in places):
            continue
        if all(buffers[slots[_place(t.target)]].size == t.target.size for _, t in chain):
            found.append(Load(tuple(t for _, t in chain), tuple(w for w, _ in chain), tuple(slots[p] for p in places)))
    return found


def _place(region: Region) -> Place:
    return region.level, region.offset


def results(phases: Sequence[Phase]) -> list[Region]:
    """What the calls write."""
    return [
        region
        for phase in phases
        if phase.call is not None
        for p in kernel(phase.call.kernel).params
        if p.is_pointer and p.kind != "in" and (region := phase.call.regions[p.name]) is not None
    ]


def without(phases: Sequence[Phase], where: Collection[tuple[int, int]]) -> tuple[Phase, ...]:
    """The phases without the transfers at some places (phase, number in it), as far as something is left of them."""
    left = [
        replace(phase, transfers=tuple(t for i, t in enumerate(phase.transfers) if (p, i) not in where))
        for p, phase in enumerate(phases)
    ]
    return tuple(phase for phase in left if phase.transfers or phase.call)
