"""The choice of a step's tiling: the fastest of its candidates that has room.

What a candidate takes in time depends on the step's kind only, and so do its requests for room; whether they are met
depends on what is free. So a candidate is built and priced once for a kind of step, and in other situations only its
requests are tried again.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from edgec.cost.estimate import phases_usage
from edgec.errors import TargetError
from edgec.memory.placement import align
from edgec.memory.plan import Buffer, Extent, Phase, Transfer
from edgec.memory.repeat import OVERFLOW, Built, Choice, Decisions, Situation, Tried, situation, unnamed
from edgec.memory.streaming import NoRoom, Workspace, reserve, stream
from edgec.memory.tiling import Candidate, candidates
from edgec.memory.tiling.step import StepContext

WORTHWHILE = 0.98  # a later (finer) candidate must be this much faster: it costs code and transfers
LONG = 256  # phases of a step: with more of them, finer candidates gain little and take long to plan
PATIENCE = 2  # candidates in a row that may be slower before the search stops


@dataclass
class TileChoice:
    """The tilings of step `index` beside what is alive then."""

    context: StepContext
    index: int
    alive: list[Buffer]
    known: Decisions
    at: Situation = field(init=False)
    fresh: dict[int, Built] = field(default_factory=dict, init=False)  # candidates built here, by number

    def __post_init__(self) -> None:
        self.at = situation(self.context, self.alive, self.known)

    def chosen(self) -> Choice:
        """The fastest of the candidates that have room, or OVERFLOW; looked up if it was found before."""
        found = self.known.chosen.get(self.at)
        if found is None:
            found = self.known.chosen[self.at] = self._fastest()
        return found

    def cycles(self) -> float:
        """Predicted cycles of the chosen candidate at the end of the context."""
        choice = self.chosen()
        return self._cycles(self.built()) if choice.number == OVERFLOW else choice.cycles

    def calls(self) -> int:
        """Kernel calls of the chosen candidate."""
        choice = self.chosen()
        return _calls(self.built()) if choice.number == OVERFLOW else choice.calls

    def built(self, phases: bool = True) -> Built:
        """The chosen candidate, without its phases if they are not wanted; OVERFLOW: the last, behind memories' ends.

        Raises TargetError where the target's links cannot carry the step's operands.
        """
        number = self.chosen().number
        if number in self.fresh:
            return self.fresh[number]
        try:
            option = list(candidates(self.context))[number]
            return self._build(option, self._workspace(number == OVERFLOW), phases)
        except NoRoom:
            node, target = self.context.node, self.context.target
            limits = ", ".join(f"{link.name} {link.max_bytes:,} B" for link in target.links)
            raise TargetError(
                f"{node.op} of {node.source} moves rows longer than {target.name}'s links take ({limits})."
            ) from None

    def _fastest(self) -> Choice:
        best, least, worse = Choice(OVERFLOW), 0.0, 0
        for number, option in enumerate(candidates(self.context)):
            found = self._tried(number, option)
            if found is None:
                continue
            cycles = found.early_cycles if self._ample(found.requests) else found.cycles
            if best.number == OVERFLOW or cycles < least * WORTHWHILE:
                best, least, worse = Choice(number, found.cycles, found.calls), cycles, 0
            else:
                worse += 1
            if worse == PATIENCE or not self.context.choices.tiling or found.phases > LONG:
                break
        return best

    def _tried(self, number: int, option: Candidate) -> Tried | None:
        """What a candidate takes, None if it has no room; built only where its requests are not known."""
        key = (self.at.kind, number)
        before = self.known.tried.get(key)
        if before is not None:
            room = has_room(before.requests, self.at.free)
            if before.fits or not room:
                return before if room else None
        workspace = self._workspace()
        try:
            built = self.fresh[number] = self._build(option, workspace)
        except NoRoom:
            if len(workspace.requests) > len(workspace.made):  # the last request is what had no room
                self.known.tried[key] = Tried(self._by_level(workspace), False)
            return None
        cycles = early = self._cycles(built)
        if "k_cache" in self.context.node.inputs and self.context.choices.early_cache:
            early = self._cycles((self._without_caches(built[0]), built[1]))
        found = Tried(self._by_level(workspace), True, cycles, len(built[0]), _calls(built), early)
        self.known.tried[key] = found
        return found

    def _by_level(self, workspace: Workspace) -> tuple[tuple[int, int], ...]:
        return tuple((self.known.levels.index(level), size) for level, size in workspace.requests)

    def _workspace(self, overflow: bool = False) -> Workspace:
        return Workspace(self.context.target, self.context.graph.name, self.index, self.alive, overflow)

    def _build(self, option: Candidate, workspace: Workspace, phases: bool = True) -> Built:
        """Phases and buffers of a candidate. Raises NoRoom."""
        tiles = option(workspace)
        if not phases:
            reserve(workspace, tiles)
        return (stream(workspace, tiles, self.context.graph.rows) if phases else ()), workspace.made

    def _ample(self, requests: Sequence[tuple[int, int]]) -> bool:
        """Whether the compute memory has room for the step's caches once more: then those of later steps have some
        beside earlier ones.
        """
        level, states = self.known.levels.index(self.context.target.compute), self.context.graph.of_kind("state")
        caches = sum(v.type.nbytes for v in states if v.name in self.context.node.inputs.values())
        return caches + sum(size for at, size in requests if at == level) <= sum(self.at.free[level])

    def _without_caches(self, phases: Sequence[Phase]) -> tuple[Phase, ...]:
        """The phases without loads of whole caches, which come during earlier steps if they can (`early_cache.py`)."""
        whole = Extent(self.context.graph.rows, 0, self.context.context, from_start=True)
        states = {v.name for v in self.context.graph.of_kind("state")}

        def left(phase: Phase) -> tuple[Transfer, ...]:
            return tuple(t for t in phase.transfers if t.rows != whole or t.source.value not in states)

        return tuple(replace(phase, transfers=left(phase)) for phase in unnamed(phases))

    def _cycles(self, built: Built) -> float:
        rows = self.context.graph.rows
        return phases_usage(self.context.target, built[0], rows, self.context.context - rows).cycles


def _calls(built: Built) -> int:
    return sum(phase.call is not None for phase in built[0])


def has_room(requests: Sequence[tuple[int, int]], free: Sequence[Sequence[int]]) -> bool:
    """Whether requests, (level's number, bytes) in order, are met by the gaps of each level, as Workspace meets them.

    free: sizes of each level's gaps, ascending. A request takes the smallest gap that holds it.
    """
    left: dict[int, list[int]] = {}
    for level, size in requests:
        gaps = left.setdefault(level, list(free[level]))
        needed = align(size)
        at = bisect_left(gaps, needed)
        if at == len(gaps):
            return False
        if rest := gaps.pop(at) - needed:
            insort(gaps, rest)
    return True
