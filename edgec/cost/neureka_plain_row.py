"""Cycles of the cores that scale N-EUREKA's sums of a single row of one group.

As in kernels/matmul_w4a8_neureka/matmul_w4a8_neureka_plain_xpulpv2.h: a core finds its channels' scales before it waits
for the engine. Where it also has inputs of its own (`tail` of the op), core 0, which starts jobs, has fewer channels of
a tile than the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgec.neureka.matrix import FEW, WORD

# Fitted as the numbers of edgec/cost/neureka.py. Before the barrier a tile and a channel of it, behind it the same.
SHARE, READY, SCALING, CHANNEL = 49, 5.2, 64, 7.2
# What is added to the engine's sums behind the barrier: each word of few inputs of the cores, or what is found apart.
# Of more than FEW inputs the products are found before the barrier: a tile, a channel, each word. In other calls all of
# it is behind, and what is a tile here is a row of a tile.
TAIL_BEHIND, TAIL_TILE, TAIL_CHANNEL, TAIL_WORD, TAIL_ROW = 2.0, 120, 4.0, 2.5, 45
# Core 0 then sets the pace, also where it else waits for the engine: before the first tile, and to start another one.
TAIL_FIRST, TAIL_START = 160, 45
STARTS, FOLD_STARTS = 6, 16  # channels of a tile that core 0 then leaves to others, and where others are folded
UNITS = 32  # channels of a core whose products there is room for; with more, the others' are found behind the barrier


@dataclass
class PlainRow:
    """The cores' work on the tiles of a row. words: of the cores' inputs, 0 if there are none. folded: whether others
    are the engine's in a job of their own.
    """

    cores: int
    words: int
    folded: bool = False
    others: float = 0.0  # when the cores but core 0 have done the last tile
    shares: tuple[int, int] = (0, 0)  # channels of the tile: core 0's, another one's
    late: Sequence[float] = (0.0, 0.0)  # cycles before the barrier that are left for behind it, of the same

    @property
    def many(self) -> bool:
        """Whether the products of the cores' inputs are found apart."""
        return self.words * WORD > FEW

    def before(self, clock: float, size: int, last: bool) -> float:
        """Core 0's clock when all cores have met for the next tile, of so many channels, but for the engine."""
        starts = 0 if last else FOLD_STARTS if self.folded else STARTS if self.words else 0
        most = -(-(size + starts) // self.cores)
        self.shares = max(0, most - starts), most
        each, apart, products = READY, SHARE, 0.0
        ready: Sequence[int] = self.shares
        if self.many:
            products = TAIL_CHANNEL + TAIL_WORD * self.words
            ready = min(self.shares[0], UNITS), min(most, UNITS)
        self.late = [(each + products) * (share - found) for share, found in zip(self.shares, ready, strict=True)]
        if products:
            each, apart = each + products, apart + TAIL_TILE
        if self.words:
            clock += TAIL_FIRST if not self.others else 0 if last else TAIL_START
        return max(clock + apart + each * ready[0], self.others + apart + each * ready[1] if self.others else 0.0)

    def behind(self, clock: float) -> float:
        """Core 0's clock when it has scaled the tile, for which all met at `clock`; behind the last one all have."""
        few = 0 if self.many else self.words
        channel = CHANNEL + TAIL_BEHIND * (few + (self.folded or self.many))
        own, other = (SCALING + channel * share + late for share, late in zip(self.shares, self.late, strict=True))
        self.others = clock + other
        return clock + own
