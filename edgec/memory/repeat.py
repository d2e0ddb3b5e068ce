"""Steps that are planned like steps before them: which decisions can be taken over, and phases under other names.

A step's tiling depends on its op, its types, the levels of its operands and on what is taken of the memories, not on
names. So blocks of a model are decided once, and so are steps of plans that differ in other things: `Decisions` may be
shared by plans for one target. Within a program an equal step's phases are copied with names and homes exchanged when
they are read: once for all when buffers have their final offsets, and each time where the plan does not fit anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, overload

from edgec.errors import TargetError
from edgec.memory.placement import free_gaps
from edgec.memory.plan import Buffer, Call, Phase, Region, Transfer, rows_at_run
from edgec.memory.tiling.step import StepContext
from edgec.target import Target

OVERFLOW = -1  # in place of a candidate's number: none has room
MOST = 4  # what passes a memory on its way has a place in the compute memory too, so it never takes so many times that
Built = tuple[Sequence[Phase], list[Buffer]]
Move = Callable[[str, int], int]  # level, offset -> new offset


class Situation(NamedTuple):
    """All that the choice of a tiling depends on: the step's kind, and sizes of free gaps by level, ascending."""

    kind: object
    free: tuple[tuple[int, ...], ...]


class Choice(NamedTuple):
    """The number of the fastest candidate, or OVERFLOW, its predicted cycles and its kernel calls."""

    number: int
    cycles: float = 0.0
    calls: int = 0


class Tried(NamedTuple):
    """A candidate that was built once: the room it asks for in order, (number of the level, bytes), and what it takes.

    fits: False, and its last request found no room, so that what it would take further is not known. early_cycles: what
    it takes if whole caches are there.
    """

    requests: tuple[tuple[int, int], ...]
    fits: bool
    cycles: float = 0.0
    phases: int = 0
    calls: int = 0
    early_cycles: float = 0.0


@dataclass
class Decisions:
    """Choices by situation, and candidates by kind of step and number. Of one target.

    levels: the memories that steps take room in: the compute memory, and those that operands pass on their way.
    """

    target: Target
    chosen: dict[Situation, Choice] = field(default_factory=dict)
    tried: dict[tuple[object, int], Tried] = field(default_factory=dict)
    levels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        compute, found = self.target.compute, dict[str, None]()
        for memory in self.target.memories:
            for ends in ((memory.name, compute), (compute, memory.name)):
                try:
                    found |= dict.fromkeys(hop.destination for hop in self.target.route(*ends)[:-1])
                except TargetError:
                    continue  # nothing of this memory is ever moved there
        self.levels = (compute, *(level for level in found if level != compute))


def situation(context: StepContext, alive: list[Buffer], known: Decisions) -> Situation:
    """A step's kind is its op, attributes, types, levels and the planner's choices.

    The context is among it by the types of the cache and of the table of angles: no other step depends on it. Gaps
    that hold more than all that a step can have in the compute memory are alike.
    """
    node, homes = context.node, context.homes
    shape = tuple(
        (role, context.type(role), homes[v].level if v in homes else "")
        for role, v in (*node.inputs.items(), *node.outputs.items())
    )
    memories = context.target.memory_by_name
    most = MOST * memories[context.target.compute].capacity_bytes
    free = []
    for level in known.levels:
        taken = [(b.offset, b.offset + b.size) for b in alive if b.level == level]
        gaps = free_gaps(taken, 0, memories[level].capacity_bytes)
        free.append(tuple(sorted(min(size, most) for _, size in gaps)))
    kind = node.op, context.graph.rows, tuple(sorted(node.attrs.items())), shape, context.choices
    return Situation(kind, tuple(free))


@dataclass(frozen=True)
class Pattern:
    """The phases of a step, and the names and homes of its operands by role."""

    node: str
    names: tuple[str, ...]
    homes: tuple[Region | None, ...]
    built: Built


def form(context: StepContext, alive: list[Buffer], known: Decisions) -> object:
    """How a step's homes lie to each other, and what is taken: steps of equal form and situation differ in names and
    in offsets of homes only."""
    taken = tuple(sorted((b.level, b.offset, b.size) for b in alive if b.level in known.levels))
    places = [h and (h.level, h.offset) for h in _homes(context)]
    sizes = tuple(h and (h.size, h.at, h.row_bytes) for h in _homes(context))
    return (
        taken,
        sizes,
        tuple(places.index(p) for p in places),
        tuple(_names(context).index(n) for n in _names(context)),
    )


def pattern(context: StepContext, built: Built) -> Pattern:
    """What steps of equal form and situation are copied from."""
    return Pattern(context.node.name, _names(context), _homes(context), built)


def copied(source: Pattern, context: StepContext, index: int) -> Built:
    """The phases and buffers of an equal step."""
    phases, made = source.built
    rename = _Rename(source, context)
    buffers = [
        Buffer(rename.buffer(b.name), b.level, b.offset, b.size, b.kind, b.program, index, index + 1) for b in made
    ]
    return Copied(phases, source, context), buffers


class Copied(Sequence[Phase]):
    """The phases of an equal step, made when they are read. move: where every region then lies."""

    def __init__(
        self, phases: Sequence[Phase], source: Pattern, context: StepContext, move: Move | None = None
    ) -> None:
        self.phases, self.source, self.context, self.move = phases, source, context, move

    def __len__(self) -> int:
        return len(self.phases)

    @overload
    def __getitem__(self, index: int) -> Phase: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Phase, ...]: ...

    def __getitem__(self, index: int | slice) -> Phase | tuple[Phase, ...]:
        rename = self._rename()
        if isinstance(index, slice):
            return tuple([rename.phase(p) for p in self.phases[index]])
        return rename.phase(self.phases[index])

    def __iter__(self) -> Iterator[Phase]:
        return map(self._rename().phase, self.phases)

    def moved(self, move: Move | None) -> Copied:
        """The same with every region moved."""
        return Copied(self.phases, self.source, self.context, move)

    def _rename(self) -> _Rename:
        return _Rename(self.source, self.context, self.move)


def unnamed(phases: Sequence[Phase]) -> Sequence[Phase]:
    """Phases under the names of the step that they were copied from: for what names and places do not matter to."""
    return phases.phases if isinstance(phases, Copied) else phases


class _Rename:
    """Names and offsets of one step in place of another's; then every region is moved."""

    def __init__(self, source: Pattern, context: StepContext, move: Move | None = None) -> None:
        self.move = move
        self.old, self.new = f"{source.node}.", f"{context.node.name}."
        self.names = dict(zip(source.names, _names(context), strict=True))
        self.moves: dict[str, tuple[Region, int]] = {}
        for was, now in zip(source.homes, _homes(context), strict=True):
            if was is not None and now is not None:
                self.names[was.value] = now.value
                self.moves[was.value] = was, now.offset - was.offset
        self.done: dict[int, Region] = {}

    def value(self, name: str) -> str:
        """A value, rows of one, or what a step keeps under its own name."""
        known = self.names.get(name)
        if known is None:
            table = name.rpartition(".")[0]
            if table in self.names and name == rows_at_run(table):
                known = rows_at_run(self.names[table])
            else:
                known = self.new + name[len(self.old) :] if name.startswith(self.old) else name
            self.names[name] = known
        return known

    def buffer(self, name: str) -> str:
        """A buffer of the step: a slot of an operand, what is named after the step, or a stage of either."""
        owner, dot, part = name.rpartition(".")
        if part.startswith("stage") and owner in self.names:
            return self.names[owner] + dot + part
        return self.new + name[len(self.old) :] if name.startswith(self.old) else name

    def region(self, r: Region) -> Region:
        known = self.done.get(id(r))
        if known is None:
            offset, move = r.offset, self.moves.get(r.value)
            # A slot that holds the value lies elsewhere than the value's home.
            if move is not None and r.level == move[0].level and 0 <= offset - move[0].offset < move[0].size:
                offset += move[1]
            if self.move is not None:
                offset = self.move(r.level, offset)
            known = Region(r.level, offset, r.size, self.value(r.value), r.at, r.row_bytes)
            self.done[id(r)] = known
        return known

    def phase(self, p: Phase) -> Phase:
        region, done = self.region, self.done.get
        call = p.call
        if call is not None:  # most regions are those of phases before: not even a call is spent on them
            regions = {n: r and (done(id(r)) or region(r)) for n, r in call.regions.items()}
            call = Call(call.kernel, call.engine, regions, call.numbers, call.any_rows)
        moved = [
            Transfer(
                t.link,
                done(id(t.source)) or region(t.source),
                done(id(t.target)) or region(t.target),
                t.row_bytes,
                t.rows,
                t.start,
            )
            for t in p.transfers
        ]
        return Phase(tuple(moved), call, p.when)


def _names(context: StepContext) -> tuple[str, ...]:
    return (*context.node.inputs.values(), *context.node.outputs.values())


def _homes(context: StepContext) -> tuple[Region | None, ...]:
    return tuple(context.homes.get(name) for name in _names(context))
