"""Offsets for pieces with lifetimes, with the least peak that can be found: static memory allocation in one level.

No placement is lower than the most bytes that are alive at one time (`lower_bound`). Several greedy orders come first;
where all stay above the bound, the pieces that stick out are placed earlier and earlier (squeaky wheel optimisation,
Joslin & Clements 1999); what is still above it goes to CP-SAT (`offsets_cp.py`). A program of equal layers falls apart:
pieces that live through much of it are stacked first, the others form groups that never meet in time, and equal groups
are solved once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from edgec.memory.offsets_cp import Solved, improve

LONG = 1 / 3  # of all steps: a piece that lives longer is placed before the others
ROUNDS, ROUNDS_PIECES = 24, 6000  # how often an order is mended, and how many pieces all rounds may place
METHODS = ("greedy", "mended", "cp-sat")  # the strongest search that any group of pieces took
Taken = list[tuple[int, int, int, int]]  # start, end, offset, size of what is placed already


@dataclass(frozen=True)
class Piece:
    """`size` bytes alive during [start, end)."""

    size: int
    start: int
    end: int


@dataclass(frozen=True)
class Placed:
    """Offsets, their peak, how they were found (one of METHODS), and how good they are known to be.

    bound: no placement has a lower peak. solver: CP-SAT's own word, "optimal" or "limit", "" if it was not asked;
    solver_seconds: of its deterministic clock, the same on every machine.
    """

    offsets: list[int]
    peak: int
    bound: int
    method: str
    solver: str = ""
    solver_seconds: float = 0.0

    @property
    def proven(self) -> bool:
        """Whether no placement is better."""
        return self.peak <= self.bound


def lower_bound(pieces: Sequence[Piece]) -> int:
    """The most bytes alive at one time."""
    change: dict[int, int] = {}
    for p in pieces:
        change[p.start] = change.get(p.start, 0) + p.size
        change[p.end] = change.get(p.end, 0) - p.size
    alive = most = 0
    for time in sorted(change):
        alive += change[time]
        most = max(most, alive)
    return most


def assign(pieces: Sequence[Piece], floor: int = 0) -> Placed:
    """An offset from `floor` on for each piece; pieces that are alive together share no byte.

    Sizes and floor are multiples of the alignment, so offsets are.
    """
    if not pieces:
        return Placed([], floor, floor, METHODS[0])
    goal = floor + lower_bound(pieces)
    span = max(p.end for p in pieces) - min(p.start for p in pieces)
    spine = [i for i, p in enumerate(pieces) if p.end - p.start > LONG * span]
    spines = [spine, []] if spine and len(spine) < len(pieces) else [[]]
    ways: list[Placed] = []
    for solver in (False, True):  # the solver last of all: it may take seconds
        for held in spines:
            ways.append(_by_groups(pieces, held, floor, goal, solver))
            if ways[-1].peak <= goal:
                return ways[-1]
    return replace(min(ways[-len(spines) :], key=lambda way: way.peak), bound=max(way.bound for way in ways))


def _peak(pieces: Sequence[Piece], offsets: Sequence[int]) -> int:
    return max(offset + p.size for p, offset in zip(pieces, offsets, strict=True))


def _by_groups(pieces: Sequence[Piece], spine: list[int], floor: int, goal: int, solver: bool) -> Placed:
    """The spine first, then each group of pieces that are joined by time, the same for equal groups."""
    offsets = [0] * len(pieces)
    taken: Taken = []
    for i in sorted(spine, key=lambda i: (pieces[i].start - pieces[i].end, -pieces[i].size, i)):
        p = pieces[i]
        offsets[i] = _lowest(p, taken, floor)
        taken.append((p.start, p.end, offsets[i], p.size))
    solved: dict[object, tuple[Solved, int]] = {}
    held = set(spine)
    for group in _groups(pieces, [i for i in range(len(pieces)) if i not in held]):
        start = min(pieces[i].start for i in group)
        end = max(pieces[i].end for i in group)
        ours = [Piece(pieces[i].size, pieces[i].start - start, pieces[i].end - start) for i in group]
        around = [(max(s, start) - start, min(e, end) - start, o, n) for s, e, o, n in taken if s < end and e > start]
        key = (tuple(ours), tuple(around))
        if key not in solved:
            solved[key] = _search(ours, around, floor, goal, solver)
        for i, offset in zip(group, solved[key][0].offsets, strict=True):
            offsets[i] = offset
    # What the solver proves of a group beside a spine that stays where it is says nothing of other spines.
    bound = goal if spine else max([goal, *(found.bound for found, _ in solved.values())])
    method = METHODS[max((rank for _, rank in solved.values()), default=0)]
    said = {found.status for found, _ in solved.values()}
    word = next((word for word in ("limit", "optimal") if word in said), "")
    seconds = sum(found.seconds for found, _ in solved.values())
    return Placed(offsets, _peak(pieces, offsets), bound, method, word, round(seconds, 3))


def _groups(pieces: Sequence[Piece], members: list[int]) -> list[list[int]]:
    """Members that are connected by being alive together, in order of time."""
    groups: list[list[int]] = []
    reach = -1
    for i in sorted(members, key=lambda i: (pieces[i].start, i)):
        if not groups or pieces[i].start >= reach:
            groups.append([])
        groups[-1].append(i)
        reach = max(reach, pieces[i].end)
    return groups


def _search(pieces: list[Piece], around: Taken, floor: int, goal: int, solver: bool) -> tuple[Solved, int]:
    """Greedy orders and what mending makes of them until one stays within the goal, then, if it may, the solver.

    The second number is that of the method among METHODS.
    """
    best: list[int] = []
    orders = _orders(pieces)
    for mending in range(max(2, min(ROUNDS, ROUNDS_PIECES // len(pieces)))):
        mended = []
        for order in orders:
            offsets = _greedy(pieces, order, around, floor)
            if not best or _peak(pieces, offsets) < _peak(pieces, best):
                best = offsets
            if _peak(pieces, best) <= goal:
                return Solved(best, "", goal, 0.0), min(mending, 1)
            mended.append(_mended(pieces, order, offsets, goal))
        orders = [new for new, old in zip(mended, orders, strict=True) if new != old]
    if not solver:
        return Solved(best, "", goal, 0.0), 1
    found = improve([(p.size, p.start, p.end) for p in pieces], around, floor, goal, best)
    return found, 2 if found.status else 1


def _mended(pieces: list[Piece], order: list[int], offsets: list[int], goal: int) -> list[int]:
    """The order with the pieces first that end above the goal."""
    high = [i for i in order if offsets[i] + pieces[i].size > goal]
    held = set(high)
    return high + [i for i in order if i not in held]


def _orders(pieces: list[Piece]) -> list[list[int]]:
    """Orders to place pieces in, each with ties by index: large first, long first, by area, and full times first."""
    numbers = range(len(pieces))
    crowd = _crowd(pieces)
    keys: list[Callable[[int], tuple[int, ...]]] = [
        lambda i: (-pieces[i].size, pieces[i].start - pieces[i].end),
        lambda i: (pieces[i].start - pieces[i].end, -pieces[i].size),
        lambda i: (-pieces[i].size * (pieces[i].end - pieces[i].start),),
        lambda i: (-crowd[i], pieces[i].start - pieces[i].end, -pieces[i].size),
        lambda i: (-crowd[i], -pieces[i].size),
        lambda i: (pieces[i].start, -pieces[i].size),
        lambda i: (-pieces[i].end, -pieces[i].size),
    ]
    return [sorted(numbers, key=key) for key in keys]


def _crowd(pieces: list[Piece]) -> list[int]:
    """For each piece the most bytes alive at a time of its life."""
    alive = [0] * max(p.end for p in pieces)
    for p in pieces:
        for t in range(p.start, p.end):
            alive[t] += p.size
    return [max(alive[p.start : p.end]) for p in pieces]


def _greedy(pieces: list[Piece], order: list[int], around: Taken, floor: int) -> list[int]:
    """First fit in this order."""
    offsets = [0] * len(pieces)
    by_time: dict[int, Taken] = {}

    def put(item: tuple[int, int, int, int]) -> None:
        for time in range(item[0], item[1]):
            by_time.setdefault(time, []).append(item)

    for item in around:
        put(item)
    for i in order:
        p = pieces[i]
        meeting = {item for time in range(p.start, p.end) for item in by_time.get(time, ())}
        offsets[i] = _lowest(p, meeting, floor)
        put((p.start, p.end, offsets[i], p.size))
    return offsets


def _lowest(piece: Piece, taken: Iterable[tuple[int, int, int, int]], floor: int) -> int:
    """The lowest offset at which a piece meets nothing."""
    at = floor
    meeting = sorted((o, o + n) for start, end, o, n in taken if start < piece.end and end > piece.start)
    for begin, end in meeting:
        if begin - at >= piece.size:
            break
        at = max(at, end)
    return at
