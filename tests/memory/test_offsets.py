"""Offsets: nothing overlaps, and the peak is at the bound."""

from __future__ import annotations

from itertools import combinations

import pytest
from random_pieces import random_pieces

from edgec.memory import offsets as searched
from edgec.memory.offsets import Piece, assign, lower_bound
from edgec.memory.offsets_cp import Rectangle, Solved, improve

SOLVED_BY_MENDING = (17, 31, 66)
ASKS_THE_SOLVER = 44


def layered(layers: int) -> list[Piece]:
    """One piece that lives throughout, and the same few in every layer."""
    pieces = [Piece(512, 0, 10 * layers)]
    for t in range(0, 10 * layers, 10):
        pieces += [Piece(96, t, t + 4), Piece(64, t + 2, t + 7), Piece(160, t + 4, t + 10), Piece(32, t + 6, t + 9)]
    return pieces


def peak(pieces: list[Piece], offsets: list[int]) -> int:
    return max(o + p.size for o, p in zip(offsets, pieces, strict=True))


def assert_sound(pieces: list[Piece], offsets: list[int], floor: int) -> None:
    assert all(o >= floor and o % 16 == 0 for o in offsets)
    for (a, at), (b, bt) in combinations(list(zip(pieces, offsets, strict=True)), 2):
        if a.start < b.end and b.start < a.end:
            assert at + a.size <= bt or bt + b.size <= at


def test_the_bound_is_the_fullest_moment() -> None:
    pieces = [Piece(10, 0, 2), Piece(20, 1, 3), Piece(40, 2, 4), Piece(5, 8, 9)]
    assert lower_bound(pieces) == 60
    assert lower_bound([]) == 0
    assert assign([]).offsets == []


@pytest.mark.parametrize("seed", range(100))
def test_random_pieces_take_no_more_than_their_bound(seed: int) -> None:
    pieces = random_pieces(seed)
    offsets = assign(pieces, floor=48).offsets
    assert_sound(pieces, offsets, 48)
    assert peak(pieces, offsets) - 48 <= 1.01 * lower_bound(pieces)
    assert assign(pieces, floor=48).offsets == offsets


def test_equal_layers_are_placed_alike() -> None:
    pieces = layered(40)
    offsets = assign(pieces).offsets
    assert_sound(pieces, offsets, 0)
    assert peak(pieces, offsets) == lower_bound(pieces)
    assert all(offsets[1 + i] == offsets[1 + i % 4] for i in range(160))


@pytest.mark.parametrize("seed", SOLVED_BY_MENDING)
def test_placing_what_sticks_out_first_saves_the_solver(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def unused(pieces: list[Rectangle], around: object, floor: int, goal: int, known: list[int]) -> Solved:
        asked.append(len(pieces))
        return Solved(known, "", goal, 0.0)

    monkeypatch.setattr(searched, "improve", unused)
    pieces = random_pieces(seed)
    offsets = assign(pieces).offsets
    assert_sound(pieces, offsets, 0)
    assert peak(pieces, offsets) == lower_bound(pieces) and not asked
    monkeypatch.setattr(searched, "_mended", lambda pieces, order, offsets, goal: order)
    assign(pieces)
    assert asked


def test_the_solver_finds_what_first_fit_does_not() -> None:
    # First fit by size puts 3 and 3 below 2s that then do not fit: 8 is reached by another order only.
    pieces = [(48, 0, 2), (48, 3, 5), (32, 1, 4), (32, 0, 1), (32, 4, 5), (16, 2, 3), (16, 0, 5)]
    tall = [i * 160 for i in range(len(pieces))]
    goal = lower_bound([Piece(*p) for p in pieces])
    found = improve(pieces, [], 0, goal, tall).offsets
    assert_sound([Piece(*p) for p in pieces], found, 0)
    assert max(o + p[0] for o, p in zip(found, pieces, strict=True)) == goal
    fixed = [(0, 5, 0, 16)]
    around = improve(pieces, fixed, 0, goal + 16, [o + 16 for o in tall]).offsets
    assert min(around) == 16 and max(o + p[0] for o, p in zip(around, pieces, strict=True)) == goal + 16


@pytest.mark.parametrize(
    ("seed", "method", "solver"), [(0, "greedy", ""), (17, "mended", ""), (ASKS_THE_SOLVER, "cp-sat", "optimal")]
)
def test_how_offsets_were_found_is_told(seed: int, method: str, solver: str) -> None:
    pieces = random_pieces(seed)
    placed = assign(pieces, floor=32)
    assert (placed.method, placed.solver, placed.proven) == (method, solver, True)
    assert placed.peak == peak(pieces, placed.offsets) == placed.bound == 32 + lower_bound(pieces)
    assert (placed.solver_seconds > 0) == bool(solver)


def test_a_solver_without_time_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgec.memory.offsets_cp.DETERMINISTIC_SECONDS", 0.0)
    placed = assign(random_pieces(ASKS_THE_SOLVER))
    assert (placed.method, placed.solver, placed.proven) == ("cp-sat", "limit", False)
    assert placed.bound < placed.peak


def test_the_solver_proves_what_the_bytes_alive_do_not() -> None:
    """Below what stays there is no room, so the goal of 48 is out of reach: 64 is best."""
    solved = improve([(32, 0, 2)], [(0, 2, 16, 16)], 0, 48, [80])
    assert (solved.offsets, solved.status, solved.bound) == ([32], "optimal", 64)
    assert solved.seconds >= 0
