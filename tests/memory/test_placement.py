"""Gaps and first fit, by table and against brute force."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from edgec.memory.placement import align, first_fit, free_gaps
from edgec.memory.plan import ALIGN, Buffer


def test_align() -> None:
    assert [align(n) for n in (0, 1, 15, 16, 17)] == [0, 16, 16, 16, 32]


@pytest.mark.parametrize(
    ("taken", "gaps"),
    [
        ([], [(0, 100)]),
        ([(0, 100)], []),
        ([(0, 10)], [(16, 84)]),
        ([(16, 32), (48, 60)], [(0, 16), (32, 16), (64, 36)]),
        ([(48, 60), (16, 64)], [(0, 16), (64, 36)]),
        ([(0, 99)], []),
    ],
)
def test_gaps(taken: list[tuple[int, int]], gaps: list[tuple[int, int]]) -> None:
    assert free_gaps(taken, 0, 100) == gaps


def test_first_fit_against_every_offset() -> None:
    rng = random.Random(1)
    for _ in range(200):
        placed: list[Buffer] = []
        for number in range(rng.randrange(1, 9)):
            start = rng.randrange(5)
            wanted = Buffer(
                f"b{number}", "L1", 0, rng.randrange(1, 70), "x", "decode", start, start + rng.randrange(1, 4)
            )
            offset = first_fit(wanted, placed, 0, 256)
            moved = [replace(wanted, offset=at) for at in range(0, 256 - wanted.size + 1, ALIGN)]
            legal = [b.offset for b in moved if not any(b.overlaps(p) and b.meets(p) for p in placed)]
            assert offset == (legal[0] if legal else None)
            if offset is not None:
                placed.append(replace(wanted, offset=offset))


def test_other_levels_and_other_programs_do_not_collide() -> None:
    here = Buffer("a", "L1", 0, 64, "x", "decode", 0, 9)
    assert first_fit(Buffer("b", "L2", 0, 64, "x", "decode", 0, 9), [here], 0, 64) == 0
    assert first_fit(Buffer("b", "L1", 0, 64, "x", "prefill", 0, 9), [here], 0, 64) == 0
    assert first_fit(Buffer("b", "L1", 0, 64, "x", "decode", 9, 10), [here], 0, 64) == 0  # half-open
    assert first_fit(Buffer("b", "L1", 0, 64, "x", "decode", 8, 10), [here], 0, 64) is None
    assert first_fit(Buffer("b", "L1", 0, 64, "x"), [here], 0, 64) is None  # permanent meets all
