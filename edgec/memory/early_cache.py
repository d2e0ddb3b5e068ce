"""Rows of a cache before a run's come early, and the run's own are computed behind them.

Planned by itself, attention over a cache that lives elsewhere waits for all of it, and for the rows that the step
before has just stored there. But the rows before the run's have been there since it began. Here they are loaded beside
calls of earlier steps that take as long anyway, and their slot lives from there on. New rows are computed right behind
them, as in a cache that stays in the compute memory, and leave for the cache's home beside attention, which waits for
nothing; or soon behind it, beside a call that begins with an accelerator's job, which hides that a core tells the DMA
of them. It is done for each cache where it saves predicted time and the slot has room beside what those steps hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from edgec.cost.estimate import phase_usage, phases_usage
from edgec.memory.kept_rows import results, without
from edgec.memory.placement import align
from edgec.memory.plan import Buffer, Call, Extent, Phase, Program, Region, Step, Transfer, before_run, rows_before_run
from edgec.memory.prefetch import alive_by_step
from edgec.memory.repeat import unnamed
from edgec.ops import kernel
from edgec.target import Target

MANY = 64  # phases of a step: one with more of them waits for little, and to write them anew takes room
SOON = 5  # steps behind attention beside which new rows may leave


class Cache(NamedTuple):
    """A cache that a run adds rows to and then reads.

    append, attend: the steps; store, load: their transfers; rows, slot: the numbers of the buffers that these have in
    the compute memory.
    """

    append: int
    attend: int
    store: Transfer
    load: Transfer
    rows: int
    slot: int


def with_early_caches(
    program: Program, permanent: list[Buffer], target: Target, context: int, room: Mapping[str, int]
) -> Program | None:
    """The program with caches that come early; None if there are none. `room`: bytes of each level that it may take.

    Their slots lie behind the end of the compute memory: buffers are to be placed anew.
    """
    found = sorted(caches(program, permanent, target, context), key=lambda c: (c.attend, -c.load.source.size))
    if not found:
        return None
    work = _Rewriting(program, target, context, room[target.compute], permanent)
    for cache in found:
        work.bring(cache, begin=max((c.attend + 1 for c in found if c.attend < cache.append), default=0))
    return work.program() if work.slots else None


class _Rewriting:
    """A program whose caches are brought forward one by one."""

    def __init__(self, program: Program, target: Target, context: int, room: int, permanent: list[Buffer]) -> None:
        self.before, self.target, self.room = program, target, room
        self.at = (program.rows, context - program.rows)  # m and pos of the run whose time counts
        self.rows = before_run(context)
        self.steps = list(program.steps)
        self.alive = [each.get(target.compute, 0) for each in alive_by_step(program)]
        self.slots: dict[int, Buffer] = {}  # by number, as they are from now on
        self.dropped: set[int] = set()
        ends = (b.offset + b.size for b in (*permanent, *program.buffers) if b.level == target.compute)
        self.end = align(max(ends, default=0))

    def program(self) -> Program:
        """The program so far."""
        buffers = [
            self.slots.get(number, b) for number, b in enumerate(self.before.buffers) if number not in self.dropped
        ]
        return replace(self.before, steps=self.steps, buffers=buffers)

    def bring(self, cache: Cache, begin: int) -> None:
        """Load a cache's rows in one of the steps from `begin` on, if that saves time and the slot has room."""
        old = self.before.buffers[cache.slot]
        whole = Region(old.level, self.end, old.size, cache.load.source.value)
        load = replace(cache.load, target=replace(whole, value=rows_before_run(whole.value)), rows=self.rows)
        earliest = next(
            (place for place in self._places(load, begin, cache.append) if self._has_room(cache, place[1])), None
        )
        if earliest is None:
            return
        extra, index, number = earliest
        append = appending(self.steps[cache.append], cache.store, replace(whole, row_bytes=load.row_bytes))
        store = replace(cache.store, source=whole, start="both_pos")
        leaves = self._leaving(cache)
        attend = attending(self.steps[cache.attend], cache.load, old, whole, None if leaves else store)
        now = self._cycles(append) + self._cycles(attend) + extra
        if now >= self._cycles(self.steps[cache.append]) + self._cycles(self.steps[cache.attend]):
            return
        self.steps[cache.append], self.steps[cache.attend] = append, attend
        self.steps[index] = _beside(self.steps[index], number, load)
        end = cache.attend + 1
        if leaves:
            self.steps[leaves[0]] = _beside(self.steps[leaves[0]], leaves[1], store)
            end = leaves[0] + 1
        for step in (step for step in range(index, end) if step != cache.attend):
            self.alive[step] += align(old.size)
        self.alive[cache.append] -= align(self.before.buffers[cache.rows].size)
        self.slots[cache.slot] = replace(old, offset=self.end, start=index, end=end)
        self.dropped.add(cache.rows)
        self.end += align(old.size)

    def _places(self, load: Transfer, begin: int, end: int) -> list[tuple[float, int, int]]:
        """Steps and phases beside whose calls the load could be, best first, each behind the cycles that it adds.

        The first and the last call of a step: those between may be one loop.
        """
        found = []
        for index in range(end - 1, begin - 1, -1):
            phases = unnamed(self.steps[index].phases)
            if len(phases) > MANY:
                continue
            calls = [number for number, phase in enumerate(phases) if phase.call is not None]
            for number in dict.fromkeys((*calls[-1:], *calls[:1])):
                phase = phases[number]
                full = replace(phase, transfers=(*phase.transfers, load))
                before, after = (phase_usage(self.target, p, *self.at).cycles for p in (phase, full))
                found.append((after - before, index, number))
        return sorted(found, key=lambda place: place[0])  # of equals the last step: the slot lives shortest

    def _leaving(self, cache: Cache) -> tuple[int, int] | None:
        """The step and phase soon behind attention with the longest call that begins with an accelerator's job, if the
        slot has room up to there: of a single row, for other calls begin with what the job needs.
        """
        found: list[tuple[float, int, int]] = []
        for index in range(cache.attend + 1, min(cache.attend + 1 + SOON, len(self.steps))):
            phases = self.steps[index].phases
            if self.alive[index] + align(self.before.buffers[cache.slot].size) > self.room or len(phases) > MANY:
                break
            for number, phase in enumerate(phases):
                if phase.call is not None and kernel(phase.call.kernel).engine and phase.call.numbers["m"] == 1:
                    found.append((phase_usage(self.target, phase, *self.at).cycles, index, number))
        return max(found)[1:] if found else None

    def _has_room(self, cache: Cache, first: int) -> bool:
        size = align(self.before.buffers[cache.slot].size)
        given = {cache.append: align(self.before.buffers[cache.rows].size)}
        return all(self.alive[step] - given.get(step, 0) + size <= self.room for step in range(first, cache.attend))

    def _cycles(self, step: Step) -> float:
        return phases_usage(self.target, step.phases, *self.at).cycles


def caches(program: Program, permanent: list[Buffer], target: Target, context: int) -> Iterator[Cache]:
    """The caches of which a run computes new rows in a buffer, stores them, and then loads all rows into a slot.

    Each once, by one transfer over one link; nothing else uses the buffer or writes the slot.
    """
    kv = {b.name: Region(b.level, b.offset, b.size, b.name) for b in permanent if b.kind == "kv"}
    single: dict[int, dict[tuple[str, int], int]] = {}
    for number, b in enumerate(program.buffers):
        if b.end == b.start + 1 and b.level == target.compute:
            single.setdefault(b.start, {})[b.level, b.offset] = number
    short = [step for step in program.steps if len(step.phases) <= MANY]
    if not _moved(short, kv)[1]:
        return
    stores, loads = _moved(program.steps, kv)
    everything = Extent(program.rows, 0, context, from_start=True)
    for name, home in kv.items():
        if len(stores.get(name, [])) != 1 or len(loads.get(name, [])) != 1:
            continue
        (append, store), (attend, load) = stores[name][0], loads[name][0]
        rows = single.get(append, {}).get((store.source.level, store.source.offset))
        slot = single.get(attend, {}).get((load.target.level, load.target.offset))
        if rows is None or slot is None or append >= attend or store.start != "target_pos" or store.target != home:
            continue
        if max(len(program.steps[index].phases) for index in (append, attend)) > MANY:
            continue
        whole = load.target.size == home.size == load.row_bytes * context and load.rows == everything
        if load.source != home or not whole or load.start or store.row_bytes != load.row_bytes:
            continue
        if _computed(program.steps[append], program.buffers[rows], store) and _loaded(
            program.steps[attend], program.buffers[slot], load
        ):
            yield Cache(append, attend, store, load, rows, slot)


def _moved(
    steps: Sequence[Step], homes: Mapping[str, Region]
) -> tuple[dict[str, list[tuple[int, Transfer]]], dict[str, list[tuple[int, Transfer]]]]:
    """Transfers to caches' homes and from there, each with its step, by cache."""
    stores: dict[str, list[tuple[int, Transfer]]] = {}
    loads: dict[str, list[tuple[int, Transfer]]] = {}
    for step in steps:
        for t in (t for phase in step.phases for t in phase.transfers):
            if t.target.value in homes and t.target.level == homes[t.target.value].level:
                stores.setdefault(t.target.value, []).append((step.index, t))
            elif t.source.value in homes:
                loads.setdefault(t.source.value, []).append((step.index, t))
    return stores, loads


def _computed(step: Step, buffer: Buffer, store: Transfer) -> bool:
    """Whether one call writes the whole buffer and the store alone reads it."""
    whole = Region(buffer.level, buffer.offset, buffer.size, store.source.value, store.source.at)
    moved = [r for p in step.phases for t in p.transfers for r in (t.source, t.target)]
    called = [r for p in step.phases for r in (p.call.regions.values() if p.call else ()) if r is not None]
    users = [r for r in (*moved, *called) if _inside(r, buffer)]
    return users == [whole, whole] and store.source in moved and whole in results(step.phases)


def _loaded(step: Step, buffer: Buffer, load: Transfer) -> bool:
    """Whether the load fills the buffer and nothing else writes there."""
    written = [t.target for p in step.phases for t in p.transfers] + results(step.phases)
    return load.target.size == buffer.size and [r for r in written if _inside(r, buffer)] == [load.target]


def appending(step: Step, store: Transfer, rows: Region) -> Step:
    """The step that computes new rows at `rows`, an open region, and does not store them."""
    was = store.source

    def at(region: Region | None) -> Region | None:
        return rows if region == was else region

    phases = []
    for phase in _without(step.phases, store):
        call = phase.call
        if call is not None and was in call.regions.values():
            call = replace(call, regions={name: at(r) for name, r in call.regions.items()})
        phases.append(replace(phase, call=call))
    writes = tuple((value, rows if place == was else place, *rest) for value, place, *rest in step.writes)
    return replace(step, phases=tuple(phases), writes=writes)  # type: ignore[arg-type]


def attending(step: Step, load: Transfer, old: Buffer, slot: Region, store: Transfer | None) -> Step:
    """The step that finds its cache in `slot` instead of the `old` one; it may store new rows beside its first call."""

    def moved(region: Region) -> Region:
        by = slot.offset - old.offset
        return replace(region, offset=region.offset + by) if _inside(region, old) else region

    phases = []
    waiting = store is not None
    for phase in _without(step.phases, load):
        transfers = [replace(t, source=moved(t.source), target=moved(t.target)) for t in phase.transfers]
        call = phase.call
        if call is not None:
            regions = {n: r and moved(r) for n, r in call.regions.items()}
            call = Call(call.kernel, call.engine, regions, call.numbers, call.any_rows)
            transfers += [store] if store is not None and waiting else []
            waiting = False
        phases.append(Phase(tuple(transfers), call, phase.when))
    return replace(step, phases=tuple(phases))


def _beside(step: Step, number: int, load: Transfer) -> Step:
    """The step with a transfer more in one of its phases."""
    phases = list(step.phases)
    phases[number] = replace(phases[number], transfers=(*phases[number].transfers, load))
    return replace(step, phases=tuple(phases))


def _without(phases: Sequence[Phase], transfer: Transfer) -> tuple[Phase, ...]:
    """The phases without a transfer."""
    return without(
        phases, {(p, i) for p, phase in enumerate(phases) for i, t in enumerate(phase.transfers) if t == transfer}
    )


def _inside(region: Region, buffer: Buffer) -> bool:
    return region.level == buffer.level and buffer.offset <= region.offset < buffer.offset + buffer.size
