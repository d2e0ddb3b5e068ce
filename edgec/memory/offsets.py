"""Offsets for pieces with lifetimes, with the least peak that can be found: static memory allocation in one level.

No placement is lower than the most bytes that are alive at one time (`lower_bound`). Several greedy orders come first;
where all stay above the bound, the pieces that stick out are placed earlier and earlier (squeaky wheel optimisation,
Joslin & Clements 1999); what is still above it goes to CP-SAT (`offsets_cp.py`). A program of equal layers falls apart:
pieces that live through much of it are stacked first, the others form groups that never meet in time, and equal groups
are solved once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgec.memory.offsets_cp import improve

LONG = 1 / 3  # of all steps: a piece that lives longer is placed before the others
ROUNDS, ROUNDS_PIECES = 24, 6000  # how often an order is mended, and how many pieces all rounds may place
Taken = list[tuple[int, int, int, int]]  # start, end, offset, size of what is placed already


@dataclass(frozen=True)
class Piece:
    """`size` bytes alive during [start, end)."""

    size: int
    start: int
    end: int


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


def assign(pieces: Sequence[Piece], floor: int = 0) -> list[int]:
    """An offset from `floor` on for each piece; pieces that are alive together share no byte.

    Sizes and floor are multiples of the alignment, so offsets are.
    """
    if not pieces:
        return []
    goal = floor + lower_bound(pieces)
    span = max(p.end for p in pieces) - min(p.start for p in pieces)
    spine = [i for i, p in enumerate(pieces) if p.end - p.start > LONG * span]
    ways = [_by_groups(pieces, spine, floor, goal)] if spine and len(spine) < len(pieces) else []
    if not ways or _peak(pieces, ways[0]) > goal:
        ways.append(_by_groups(pieces, [], floor, goal))
    return min(ways, key=lambda offsets: _peak(pieces, offsets))


def _peak(pieces: Sequence[Piece], offsets: Sequence[int]) -> int:
    return max(offset + p.size for p, offset in zip(pieces, offsets, strict=True))


def _by_groups(pieces: Sequence[Piece], spine: list[int], floor: int, goal: int) -> list[int]:
    """The spine first, then each group of pieces that are joined by time, the same for equal groups."""
    offsets = [0] * len(pieces)
    taken: Taken = []
    for i in sorted(spine, key=lambda i: (pieces[i].start - pieces[i].end, -pieces[i].size, i)):
        p = pieces[i]
        offsets[i] = _lowest(p, taken, floor)
        taken.append((p.start, p.end, offsets[i], p.size))
    solved: dict[object, list[int]] = {}
    held = set(spine)
    for group in _groups(pieces, [i for i in range(len(pieces)) if i not in held]):
        start = min(pieces[i].start for i in group)
        end = max(pieces[i].end for i in group)
        ours = [Piece(pieces[i].size, pieces[i].start - start, pieces[i].end - start) for i in group]
        around = [(max(s, start) - start, min(e, end) - start, o, n) for s, e, o, n in taken if s < end and e > start]
        key = (tuple(ours), tuple(around))
        if key not in solved:
            solved[key] = _search(ours, around, floor, goal)
        for i, offset in zip(group, solved[key], strict=True):
            offsets[i] = offset
    return offsets


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


def _search(pieces: list[Piece], around: Taken, floor: int, goal: int) -> list[int]:
    """Greedy orders and what mending makes of them until one stays within the goal, then the solver from the best."""
    best: list[int] = []
    orders = _orders(pieces)
    for _ in range(max(2, min(ROUNDS, ROUNDS_PIECES // len(pieces)))):
        mended = []
        for order in orders:
            offsets = _greedy(pieces, order, around, floor)
            if not best or _peak(pieces, offsets) < _peak(pieces, best):
                best = offsets
            if _peak(pieces, best) <= goal:
                return best
            mended.append(_mended(pieces, order, offsets, goal))
        orders = [new for new, old in zip(mended, orders, strict=True) if new != old]
    return improve([(p.size, p.start, p.end) for p in pieces], around, floor, goal, best)


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
