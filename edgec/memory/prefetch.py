"""Loads before their step: a step's first weights come while the step before still computes.

A step begins with phases that only load, because nothing is there to compute with yet. What they load of constants can
come earlier: those transfers join the last phases of the step before, and their slots live from there on. It is done
where it saves predicted time and where the memories have room for the slots beside what that step holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgec.cost.estimate import phases_usage
from edgec.memory.placement import align
from edgec.memory.plan import CONSTANT, Buffer, Phase, Program, Step
from edgec.target import Target

Early = list[set[int]]  # for each phase before a step's first call, which of its transfers move


@dataclass
class Prefetch:
    """By step, the transfers that move into the step before it; and the program's buffers as long as they then live.

    refused: steps whose loads would have saved time there, but have no room.
    """

    early: dict[int, Early]
    buffers: list[Buffer]
    refused: int = 0


def find_early(
    program: Program, permanent: list[Buffer], target: Target, context: int, room: Mapping[str, int]
) -> Prefetch:
    """Loads of constants that save time one step earlier. `room`: bytes of each level that the program may take."""
    constants = {b.name for b in permanent if b.kind in CONSTANT}
    result = Prefetch({}, list(program.buffers))
    slots: dict[int, dict[tuple[str, int], int]] = {}  # by step and place, the buffer that lives there for this step
    for number, b in enumerate(program.buffers):
        if b.end == b.start + 1:
            slots.setdefault(b.start, {})[b.level, b.offset] = number
    alive = alive_by_step(program)
    at = (program.rows, context - program.rows)
    # Phases of the step before: `skip` of them gave transfers away, and are `head` now.
    head, skip, late = tuple[Phase, ...](), 0, program.steps[0].phases
    for step in program.steps[1:]:
        ours = slots.get(step.index, {})
        early = _early(step, constants, ours)
        depth = len(early)
        kept = late[max(skip, len(late) - depth) :] if depth else ()
        ends, starts = (*head, *kept)[-depth:], step.phases[:depth]
        last, first = _joined(tuple(ends), tuple(starts), early)
        before = phases_usage(target, (*ends, *starts), *at).cycles if depth else 0.0
        head, skip, late = (), 0, step.phases
        if not depth or phases_usage(target, (*last, *first), *at).cycles >= before:
            continue
        moved = {
            ours[t.target.level, t.target.offset]
            for phase, chosen in zip(step.phases, early, strict=False)
            for t in (phase.transfers[i] for i in chosen)
        }
        needed = dict(alive[step.index - 1])
        for number in moved:
            level = program.buffers[number].level
            needed[level] = needed.get(level, 0) + align(program.buffers[number].size)
        if all(size <= room[level] for level, size in needed.items()):
            alive[step.index - 1] = needed
            result.early[step.index] = early
            for number in moved:
                result.buffers[number] = replace(program.buffers[number], start=step.index - 1)
            head, skip = first, depth
        else:
            result.refused += 1
    return result


def prefetched(program: Program, early: Mapping[int, Early]) -> Program:
    """The program with those transfers in the steps before theirs, where their slots must live already."""
    steps = list(program.steps)
    for index, chosen in early.items():
        before, step, depth = steps[index - 1], steps[index], len(chosen)
        last, first = _joined(tuple(before.phases[-depth:]), tuple(step.phases[:depth]), chosen)
        steps[index - 1] = replace(before, phases=(*before.phases[:-depth], *last))
        steps[index] = replace(step, phases=(*first, *step.phases[depth:]))
    return replace(program, steps=steps)


def alive_by_step(program: Program) -> list[dict[str, int]]:
    """Bytes of each level alive in each step."""
    alive: list[dict[str, int]] = [{} for _ in program.steps]
    for b in program.buffers:
        for step in range(b.start, b.end):
            alive[step][b.level] = alive[step].get(b.level, 0) + align(b.size)
    return alive


def _early(step: Step, constants: set[str], slots: Mapping[tuple[str, int], int]) -> Early:
    """For each phase before the first call, the transfers that need nothing but constants; [] if there are none.

    A later hop of a load goes along if the hop before it does.
    """
    result: Early = []
    staged: set[tuple[str, int]] = set()
    for phase in step.phases:
        if phase.call is not None:
            break
        chosen = set()
        for number, t in enumerate(phase.transfers):
            place = (t.target.level, t.target.offset)
            fixed = t.source.value in constants or (t.source.level, t.source.offset) in staged
            if fixed and place in slots and not t.start:
                chosen.add(number)
                staged.add(place)
        result.append(chosen)
    return result if any(result) else []


def _joined(
    last: tuple[Phase, ...], first: tuple[Phase, ...], early: Early
) -> tuple[tuple[Phase, ...], tuple[Phase, ...]]:
    """The last phases of a step and the first of the next with the early transfers moved from these to those."""
    late = [Phase(())] * (len(early) - len(last)) + list(last)
    rest = []
    for number, (phase, chosen) in enumerate(zip(first, early, strict=True)):
        moved = tuple(t for i, t in enumerate(phase.transfers) if i in chosen)
        late[number] = replace(late[number], transfers=(*late[number].transfers, *moved))
        rest.append(replace(phase, transfers=tuple(t for i, t in enumerate(phase.transfers) if i not in chosen)))
    return tuple(p for p in late if p.transfers or p.call), tuple(p for p in rest if p.transfers or p.call)
