"""Random buffers: sizes and lifetimes of many kinds, as a placement has to cope with."""

from __future__ import annotations

import random

from edgec.memory.offsets import Piece


def random_pieces(seed: int) -> list[Piece]:
    """15, 40 or 120 of them over 5 to 80 steps."""
    rng = random.Random(seed)
    times = rng.randrange(5, 80)
    pieces = []
    for _ in range(rng.choice([15, 40, 120])):
        start = rng.randrange(times)
        size = 16 * rng.choice([rng.randrange(1, 20), rng.randrange(1, 300)])
        pieces.append(Piece(size, start, min(times, start + 1 + int(rng.expovariate(0.25)))))
    return pieces
