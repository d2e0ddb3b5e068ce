"""Cycles of the cores that make silu(gate) * up of N-EUREKA's sums: a single row, whose channels have one scale each.

As in kernels/matmul_w4a8_silu_neureka: core 0 starts jobs between tiles and so scales fewer channels of each than the
others. Where the row has several long groups, each is quantised behind the next tile that all cores meet for when its
elements are there, and the last one behind all tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.ops.matmul_w4a8_silu_neureka import PARTS, grouped
from edgec.packing import n_groups

# Fitted as the numbers of edgec/cost/neureka.py. Of a core: a channel; around a tile's loop, and on to the next tile.
GATE, GATE_TILE, GATE_NEXT = 24.4, 78, 23.2
GATE_OTHERS = 143  # of a core that starts no jobs, in place of those two and of the jobs
STARTS = 12  # channels of a tile that core 0 leaves to others
GATE_SPLIT = 110  # of a core whose channels belong to two groups
GATE_QUANTIZE, GATE_ELEMENT = 156, 6.8  # where tops are known: a core's elements


@dataclass
class GatedRow:
    """The cores' work on the tiles of a row of v [width] in groups of out_group elements."""

    cores: int
    width: int
    out_group: int
    tail_tile: float = 0.0  # of a core: what the cores' inputs take of a tile of gate, or of up, and of a channel of it
    tail_channel: float = 0.0
    done: int = 0  # channels
    quantized: int = 0  # groups
    others: float = 0.0  # when the cores but core 0 have done the last tile

    @property
    def grouped(self) -> bool:
        """Whether groups are quantised one by one."""
        return grouped(self.width, self.out_group)

    def tile(self, meeting: float, clock: float, size: int) -> float:
        """Core 0's clock behind the next tile, for which all met at `meeting`, and from `clock` on core 0 has time."""
        begin, self.done = self.done, self.done + size
        last = self.done == self.width
        share = -(-(size + (0 if last else STARTS)) // self.cores)
        apart, each = PARTS * self.tail_tile, GATE + PARTS * self.tail_channel
        own = share if last else max(0, share - STARTS)
        clock += GATE_TILE + own * each + (apart if own else 0) + (0 if last else GATE_NEXT)
        self.others = meeting + apart + share * each + (GATE_TILE if last else GATE_OTHERS)
        if self.grouped and begin // self.out_group < (self.done - 1) // self.out_group:
            self.others += GATE_SPLIT
        if last:
            clock = max(clock, self.others)
        quantizing = self._quantizing(n_groups(self.width, self.out_group) if last else begin // self.out_group)
        self.others += quantizing
        return clock + quantizing

    def _quantizing(self, until: int) -> float:
        """Cycles for the groups up to one, which the cores share."""
        new, self.quantized = until - self.quantized, until
        if not new or not self.grouped:
            return 0.0
        each = max(1, self.cores >> (new - 1).bit_length())  # cores of a group
        rounds = -(-new // (self.cores // each))
        return rounds * (GATE_QUANTIZE + GATE_ELEMENT * -(-self.out_group // each))
