"""Offsets by constraint programming: OR-tools' CP-SAT, from a greedy placement on, for what greed cannot reach.

Each piece is a rectangle whose width is its life and whose height is its size; rectangles do not overlap; the highest
top is minimised. One worker and a limit in deterministic time: the same pieces give the same offsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, gcd

Rectangle = tuple[int, int, int]  # size, start, end
DETERMINISTIC_SECONDS = 3.0
MOST_PIECES = 600  # above, the model alone takes longer than the last per cent is worth


@dataclass(frozen=True)
class Solved:
    """Offsets, and what the solver knows of them: "" if it was not asked, "optimal", or "limit" where time ran out.

    bound: no peak beside what stays where it is can be lower. seconds: of the solver's own deterministic clock.
    """

    offsets: list[int]
    status: str
    bound: int
    seconds: float


def improve(
    pieces: Sequence[Rectangle],
    around: Sequence[tuple[int, int, int, int]],
    floor: int,
    goal: int,
    known: list[int],
) -> Solved:
    """Offsets whose peak is at most that of `known`, and `goal` if the solver gets there.

    around: (start, end, offset, size) of rectangles that stay where they are. No peak is below `goal`.
    """
    if len(pieces) > MOST_PIECES:
        return Solved(known, "", goal, 0.0)
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
    outcome = solver.status_name(solver.solve(model))
    status = "optimal" if outcome == "OPTIMAL" else "limit"
    bound = max(goal, ceil(solver.best_objective_bound) * unit)
    seconds = round(solver.response_proto.deterministic_time, 3)
    found = solver.response_proto.solution
    offsets = [solver.value(place) * unit for place in places] if found else known
    if max(offset + size for offset, (size, _, _) in zip(offsets, pieces, strict=True)) >= peak:
        offsets = known
    return Solved(offsets, status, bound, seconds)
