"""Streams operands through the compute memory: a sequence of kernel calls becomes phases with double buffering.

An operand that lies in the compute memory is used in place. Any other is loaded over its route (one hop per link,
e.g. L3>L2, L2>L1) into slots, the next call's load running beside the present call; two slots per operand and hop
suffice because a load is issued one phase before its use. Results that live elsewhere leave the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgec.chip import Link
from edgec.cost.engine import engine_name
from edgec.memory.placement import align, free_gaps
from edgec.memory.plan import Buffer, Call, Extent, Number, Phase, Region, Transfer, most
from edgec.target import Target


class NoRoom(Exception):  # noqa: N818 - not an error: another tiling is tried
    """A workspace cannot hold a buffer: `needed` bytes at `level`, `free` in its largest gap."""

    def __init__(self, level: str, needed: int, free: int) -> None:
        super().__init__(f"{needed} B do not fit {level}, whose largest gap is {free} B")
        self.level, self.needed, self.free = level, needed, free


@dataclass
class Workspace:
    """Room beside what is alive at one step; hands out buffers that live for that step."""

    target: Target
    program: str
    step: int
    alive: list[Buffer]
    overflow: bool = False  # place behind the level's end what does not fit, to say by how much
    made: list[Buffer] = field(default_factory=list)
    requests: list[tuple[str, int]] = field(default_factory=list)  # level and bytes of each, met or not

    def allocate(self, name: str, size: int, kind: str, level: str | None = None) -> Region:
        """A new buffer in the smallest gap that holds it. Raises NoRoom."""
        level = level or self.target.compute
        self.requests.append((level, size))
        capacity = self.target.memory_by_name[level].capacity_bytes
        taken = [(b.offset, b.offset + b.size) for b in (*self.alive, *self.made) if b.level == level]
        gaps = free_gaps(taken, 0, capacity)
        fitting = [(room, offset) for offset, room in gaps if room >= align(size)]
        if not fitting and not self.overflow:
            raise NoRoom(level, size, max((room for _, room in gaps), default=0))
        offset = min(fitting)[1] if fitting else align(max([capacity, *(end for _, end in taken)]))
        self.made.append(Buffer(name, level, offset, size, kind, self.program, self.step, self.step + 1))
        return Region(level, offset, size, name)


@dataclass(frozen=True, slots=True)
class Move:
    """Rows of row_bytes between the compute memory and `place`; see Transfer.start.

    `value` labels what a load leaves in its slot, where that is not the place's own bytes.
    """

    place: Region
    row_bytes: int
    rows: Number
    start: str = ""
    value: str = ""

    @property
    def size(self) -> int:
        """Bytes at most."""
        return most(self.rows) * self.row_bytes


class Load(Move):
    """An operand to bring in."""

    __slots__ = ()


class Store(Move):
    """A result computed in a slot and taken out."""

    __slots__ = ()


Operand = Region | Load | Store | None


@dataclass(frozen=True, slots=True)
class Tile:
    """One kernel call whose operands may lie anywhere; `after` are transfers out of the compute memory behind it."""

    kernel: str
    operands: Mapping[str, Operand]
    numbers: Mapping[str, Number]
    when: Extent | None = None
    after: tuple[tuple[Region, Store], ...] = ()


def stream(workspace: Workspace, tiles: list[Tile], rows: int = 1) -> tuple[Phase, ...]:
    """Phases that run the tiles in order with loads and stores overlapped. rows: of the program."""
    slots = _Slots(workspace, tiles)
    target = workspace.target
    deepest = max((len(target.route(*ends)) for ends in _journeys(target, tiles)), default=0)
    transfers: list[list[Transfer]] = [[] for _ in range(len(tiles) + 2 * deepest + 1)]
    calls: list[Call] = []
    for index, tile in enumerate(tiles):
        regions: dict[str, Region | None] = {}
        for name, operand in tile.operands.items():
            if isinstance(operand, Load):
                hops = target.route(operand.place.level, target.compute)
                label = operand.value or operand.place.value
                places = slots.next(name, [h.destination for h in hops], operand.size, label)
                _hops_in(transfers, index + deepest - len(hops), hops, operand, places)
                regions[name] = places[-1]
            elif isinstance(operand, Store):
                hops = target.route(target.compute, operand.place.level)
                levels = [target.compute, *(h.destination for h in hops[:-1])]
                places = slots.next(name, levels, operand.size, operand.place.value, operand.place.at)
                _hops_out(transfers, index + deepest + 1, hops, operand, places)
                regions[name] = places[0]
            else:
                regions[name] = operand
        for region, store in tile.after:
            hops = target.route(target.compute, store.place.level)
            places = [region, *slots.next(region.value, [h.destination for h in hops[:-1]], store.size, region.value)]
            _hops_out(transfers, index + deepest + 1, hops, store, places)
        calls.append(Call(tile.kernel, engine_name(target, tile.kernel), regions, dict(tile.numbers), rows > 1))
    phases = []
    for number, moving in enumerate(transfers):
        index = number - deepest
        inside = 0 <= index < len(tiles)
        if moving or inside:
            phases.append(Phase(tuple(moving), calls[index] if inside else None, tiles[index].when if inside else None))
    return tuple(phases)


def reserve(workspace: Workspace, tiles: list[Tile]) -> None:
    """Take the room that stream() takes for the tiles, without their phases."""
    slots = _Slots(workspace, tiles)
    target = workspace.target
    for tile in tiles:
        for name, operand in tile.operands.items():
            if isinstance(operand, Load):
                slots.next(name, [h.destination for h in target.route(operand.place.level, target.compute)], 0, "")
            elif isinstance(operand, Store):
                hops = target.route(target.compute, operand.place.level)
                slots.next(name, [target.compute, *(h.destination for h in hops[:-1])], 0, "")
        for region, store in tile.after:
            hops = target.route(target.compute, store.place.level)
            slots.next(region.value, [h.destination for h in hops[:-1]], 0, "")
        if all(slots.turn.get(name, 0) >= min(2, uses) for name, uses in slots.uses.items()):
            return


def _journeys(target: Target, tiles: list[Tile]) -> set[tuple[str, str]]:
    """From and to which memories tiles move something."""
    moves = [move for tile in tiles for move in tile.operands.values() if isinstance(move, Move)]
    moves += [store for tile in tiles for _, store in tile.after]
    inwards = {(move.place.level, target.compute) for move in moves if isinstance(move, Load)}
    return inwards | {(target.compute, move.place.level) for move in moves if isinstance(move, Store)}


class _Slots:
    """Two buffers (one, if used once) per operand and level, taken in turn."""

    def __init__(self, workspace: Workspace, tiles: list[Tile]) -> None:
        self.workspace = workspace
        self.sizes: dict[str, int] = {}
        self.uses: dict[str, int] = {}
        for tile in tiles:
            items = [(n, o.size) for n, o in tile.operands.items() if isinstance(o, (Load, Store))]
            for name, size in items + [(r.value, s.size) for r, s in tile.after]:
                self.sizes[name] = max(self.sizes.get(name, 0), size)
                self.uses[name] = self.uses.get(name, 0) + 1
        self.turn: dict[str, int] = {}
        self.buffers: dict[tuple[str, str, int], Region] = {}

    def next(self, name: str, levels: list[str], size: int, value: str, at: int | None = None) -> list[Region]:
        """The slots of this operand's next use on each level, cut to size and labelled."""
        turn = self.turn.get(name, 0)
        self.turn[name] = turn + 1
        places = []
        for level in levels:
            key = (name, level, turn % min(2, self.uses[name]))
            if key not in self.buffers:
                kind = "scratch" if level == self.workspace.target.compute else "stage"
                label = f"{name}.slot{key[2]}" if kind == "scratch" else f"{name}.stage{key[2]}"
                self.buffers[key] = self.workspace.allocate(label, self.sizes[name], kind, level)
            place = self.buffers[key]
            places.append(Region(level, place.offset, size, value, at or 0))
        return places


def _hops_in(
    transfers: list[list[Transfer]], phase: int, hops: tuple[Link, ...], load: Load, places: list[Region]
) -> None:
    """Source to slot over each hop, one phase a hop; long transfers are split at the links' limits."""
    here, start = load.place, load.start
    value, at = (load.value, 0) if load.value else (load.place.value, load.place.at)
    for number, (hop, place) in enumerate(zip(hops, places, strict=True)):
        place = Region(place.level, place.offset, place.size, value, at)
        places[number] = place
        transfers[phase + number] += split(hop, here, place, load.row_bytes, load.rows, start)
        here, start = place, ""


def _hops_out(
    transfers: list[list[Transfer]], phase: int, hops: tuple[Link, ...], store: Store, places: list[Region]
) -> None:
    here = places[0]
    for number, hop in enumerate(hops):
        last = number == len(hops) - 1
        if last:
            place = store.place
        else:
            following = places[number + 1]
            place = Region(following.level, following.offset, following.size, here.value, here.at)
        transfers[phase + number] += split(hop, here, place, store.row_bytes, store.rows, store.start if last else "")
        here = place


def split(link: Link, source: Region, target: Region, row_bytes: int, rows: Number, start: str) -> list[Transfer]:
    """One transfer, or several where the link's length limit asks for it. Rows are never cut unless they are fixed."""
    total = most(rows) * row_bytes
    if start == "token" or total <= link.max_bytes:
        return [Transfer(link.name, source, target, row_bytes, rows, start)]
    if start:
        return _split_at_position(link, source, target, row_bytes, rows, start)
    if isinstance(rows, Extent):
        if row_bytes * rows.times > link.max_bytes:
            raise NoRoom(link.destination, row_bytes * rows.times, link.max_bytes)
        step = link.max_bytes // (row_bytes * rows.times)
        parts = []
        for first in range(0, rows.limit, step):
            limit = min(step, rows.limit - first)
            extent = Extent(rows.bound, rows.first + first, limit, rows.times, rows.from_start)
            at, size = first * rows.times * row_bytes, limit * rows.times * row_bytes
            parts.append(Transfer(link.name, source.part(at, size), target.part(at, size), row_bytes, extent, ""))
        return parts
    piece = link.max_bytes // 16 * 16
    sizes = [(at, min(piece, total - at)) for at in range(0, total, piece)]
    return [Transfer(link.name, source.part(at, n), target.part(at, n), n, 1, "") for at, n in sizes]


def _split_at_position(
    link: Link, source: Region, target: Region, row_bytes: int, rows: Number, start: str
) -> list[Transfer]:
    """Transfers of whole rows from or to row pos of a table or cache, each within the link's limit."""
    step = link.max_bytes // row_bytes
    if not step:
        raise NoRoom(link.destination, row_bytes, link.max_bytes)
    parts = []
    for first in range(0, most(rows), step):
        count = min(step, most(rows) - first)
        at, size = first * row_bytes, count * row_bytes
        # On the side that begins at row pos the region stays open: it ends where the table or cache ends.
        here = source.part(at, size if start == "target_pos" else source.size - at)
        there = target.part(at, size if start == "source_pos" else target.size - at)
        part: Number = count
        if isinstance(rows, Extent):
            part = Extent(rows.bound, rows.first + first, count, rows.times, rows.from_start)
        parts.append(Transfer(link.name, here, there, row_bytes, part, start))
    return parts
