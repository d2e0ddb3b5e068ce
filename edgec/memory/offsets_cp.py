"""Offsets by constraint programming: OR-tools' CP-SAT, from a greedy placement on, for what greed cannot reach.

Each piece is a rectangle whose width is its life and whose height is its size; rectangles do not overlap; the highest
top is minimised. One worker and a limit in deterministic time: the same pieces give the same offsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

Rectangle = tuple[int, int, int]  # size, start, end
DETERMINISTIC_SECONDS = 3.0
MOST_PIECES = 600  # above, the model alone takes longer than the last per cent is worth


def improve(
    pieces: Sequence[Rectangle],
    around: Sequence[tuple[int, int, int, int]],
    floor: int,
    goal: int,
    known: list[int],
) -> list[int]:
    """Offsets whose peak is at most that of `known`, and `goal` if the solver gets there.

    around: (start, end, offset, size) of rectangles that stay where they are. No peak is below `goal`.
    """
    if len(pieces) > MOST_PIECES:
        return known
    from ortools.sat.python import cp_model

    peak = max(offset + size for offset, (size, _, _) in zip(known, pieces, strict=True))
    unit = gcd(floor, goal, *(size for size, _, _ in pieces), *(n for _, _, o, size in around for n in (o, size)))
    model = cp_model.CpModel()
    top = model.new_int_var(goal // unit, peak // unit, "top")
    lives, heights, places = [], [], []
    for (size, start, end), offset in zip(pieces, known, strict=True):
        place = model.new_int_var(floor // unit, (peak - size) // unit, "")
        model.add(place + size // unit <= top)
        model.add_hint(place, offset // unit)
        lives.append(model.new_fixed_size_interval_var(start, end - start, ""))
        heights.append(model.new_fixed_size_interval_var(place, size // unit, ""))
        places.append(place)
    for start, end, offset, size in around:
        lives.append(model.new_fixed_size_interval_var(start, end - start, ""))
        heights.append(model.new_fixed_size_interval_var(offset // unit, size // unit, ""))
    model.add_no_overlap_2d(lives, heights)
    model.minimize(top)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.max_deterministic_time = DETERMINISTIC_SECONDS
    solver.solve(model)
    found = solver.response_proto.solution
    if not found or solver.value(top) * unit >= peak:
        return known
    return [solver.value(place) * unit for place in places]
