"""A plan in the making: step by step at first, then all buffers placed anew together.

Nothing is planned before something asks for it, so that a draft can be given up after a look at one of its programs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from edgec.cost.estimate import longest_run
from edgec.ir.graph import Graph
from edgec.memory.choices import ALL, Choices
from edgec.memory.compaction import packed, relocate
from edgec.memory.early_cache import with_early_caches
from edgec.memory.homes import place_permanent
from edgec.memory.kept_rows import Kept, keep_rows, unchanged
from edgec.memory.placement import align
from edgec.memory.plan import ALIGN, CONSTANT, Buffer, Plan, Program, Region
from edgec.memory.prefetch import find_early, prefetched
from edgec.memory.repeat import Decisions
from edgec.memory.steps import Steps
from edgec.target import Target

ROOM_TO_TRY = (1.0, 0.95, 0.85, 0.7)  # shares of what is free: the fuller a memory, the harder its buffers fit


@dataclass
class Draft:
    """A plan of all graphs over shared weights and cache.

    worth: of constants near the engine (`residency.py`); near: values that stay in the compute memory for good; phases:
    False, and steps only take their room, which is enough for `Plan.deficits` of the plan step by step.
    """

    graphs: Mapping[str, Graph]
    target: Target
    context: int
    known: Decisions
    worth: Mapping[str, float]
    choices: Choices = ALL
    near: Collection[str] = ()
    phases: bool = True
    homes: dict[str, Region] = field(init=False)
    permanent: list[Buffer] = field(init=False)
    steps: dict[str, Steps] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.homes, self.permanent = place_permanent(self.graphs, self.target, self.worth, self.near)

    def calls(self, name: str) -> int:
        """Kernel calls of a run of a program."""
        return self._steps(name).calls()

    def _steps(self, name: str) -> Steps:
        if name not in self.steps:
            where = (self.graphs[name], self.target, self.context, self.homes, self.permanent)
            self.steps[name] = Steps(*where, self.known, self.choices)
        return self.steps[name]

    def plan(self) -> Plan:
        """The plan step by step."""
        programs = {name: self._steps(name).program(self.phases) for name in self.graphs}
        return Plan(self.target, self.context, self.permanent, programs)

    def finished(self) -> Plan:
        """Loads begin early, of constants and of caches, rows of tables stay where there is room, and all buffers are
        placed anew together."""
        made = self.plan()
        for name, program in made.programs.items():
            made.programs[name] = self._compacted(program)
        return made

    def _compacted(self, program: Program) -> Program:
        if not self.choices.compaction:
            return relocate(program, program.buffers)
        tried: Program | None = None
        for share in ROOM_TO_TRY if self.choices.early_cache and self._can_fit(program) else ():
            ahead = with_early_caches(program, self.permanent, self.target, self.context, self._room(share))
            if ahead is None:
                break
            if ahead == tried:
                continue
            tried, found = ahead, self._placed(ahead)
            if not self._fits(found.program.buffers):
                continue
            if not found.refused:
                return found.program
            return self._faster(found, self._placed(program)).program
        return self._placed(program).program

    def _placed(self, program: Program) -> Fitted:
        """The program with loads as early and rows as long as its memories allow; where it fits none, as it is."""
        constants = {b.name for b in self.permanent if b.kind in CONSTANT}
        kept = keep_rows(program, constants, self.target.compute) if self.choices.kept_rows else None
        once = self._with_rows(program, kept) if kept else None
        if once and not once.refused:
            return once  # nothing gave way to the rows
        again = self._with_early_loads(program, unchanged(program)) or Fitted(self._repacked(program), 1)
        return self._faster(once, again) if once else again

    def _faster(self, *found: Fitted) -> Fitted:
        return min(found, key=lambda each: longest_run(self.target, self.context, each.program))

    def _room(self, share: float) -> dict[str, int]:
        """By level, a share of the bytes that a program may take."""
        return {m.name: int(share * (m.capacity_bytes - _end(self.permanent, m.name))) for m in self.target.memories}

    def _with_rows(self, program: Program, kept: Kept) -> Fitted | None:
        """The program with rows that stay, and with early loads as far as both have room; None if that is too much."""
        found = self._with_early_loads(program, kept)
        if found:
            return found
        buffers, how = packed(kept.program.buffers, self.permanent)
        return Fitted(kept.brought(kept.placed(program, buffers, how)), 1) if self._fits(buffers) else None

    def _with_early_loads(self, program: Program, kept: Kept) -> Fitted | None:
        """The program with loads a step early, in as much of the free room as buffers can be placed in; None if in
        none."""
        permanent, target = self.permanent, self.target
        for share in ROOM_TO_TRY if self.choices.early_loads and self._can_fit(kept.program) else ():
            found = find_early(kept.program, permanent, target, self.context, self._room(share))
            buffers, how = packed(found.buffers, permanent)
            if self._fits(buffers):
                early = prefetched(kept.placed(program, buffers, how), found.early)
                return Fitted(kept.brought(early), found.refused)
        return None

    def _repacked(self, program: Program) -> Program:
        """The program as it is, placed anew where that takes no memory more; it need not fit."""
        buffers, how = packed(program.buffers, self.permanent)
        if any(_end(buffers, m.name) > _end(program.buffers, m.name) for m in self.target.memories):
            buffers, how = program.buffers, {}
        return relocate(program, buffers, how, copies=self._fits([*self.permanent, *buffers]))

    def _can_fit(self, program: Program) -> bool:
        """Whether there may be room for the program's buffers, and so for what loads early."""
        alone = Plan(self.target, self.context, self.permanent, {program.name: program})
        return all(alone.lower_bound(m.name) < m.capacity_bytes + ALIGN for m in self.target.memories)

    def _fits(self, buffers: list[Buffer]) -> bool:
        return all(_end(buffers, m.name) <= m.capacity_bytes for m in self.target.memories)


class Fitted(NamedTuple):
    """A program that fits, and how many steps could not load early for lack of room."""

    program: Program
    refused: int


def _end(buffers: list[Buffer], level: str) -> int:
    return max((align(b.offset + b.size) for b in buffers if b.level == level), default=0)
