"""What a matmul on the cores counts as work: its products, and the cycles that XpulpV2's kernel takes beside them.

The busiest core is followed as kernels/matmul_w4a8/matmul_w4a8_xpulpv2.c goes. Its channels go by in chunks, a group of
inputs after the other; in a chunk, strips of channels that share the loads of one row of x or of two. A group that ends
within a block of weights takes a padded block more. Widths that have them rather take strips over all groups at once.

Cycles were fitted to 870 calls by themselves on the public model of Siracusa, of 1 to 20 rows, 8 to 512 channels and
12 to 900 inputs in groups of 8 and more, and tried on 400 others (docs/accuracy.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from edgec.ops.op import CORES, Work
from edgec.packing import block_elements, n_groups

# Cycles of a product and of an operation, in which the cycles are counted (targets/siracusa.toml).
MAC, FLOP = 0.25, 4.0
STRIPS = {2: (4, 4), 3: (1, 1), 4: (8, 4), 5: (2, 2), 6: (2, 2), 7: (1, 1), 8: (8, 8)}  # channels, by rows: 1, 2
WHOLE = {4: 2, 8: 4}  # rows of a pass over all groups, for widths that have it; of one row it has strips of 8 channels
WHOLE_LEAST = 8  # channels of a core for it
CHUNK = 32  # sums that wait together: of so many channels, or of half of them and two rows; half with an addend
PAIRS = 2  # rows of other passes, as long as there are so many

CALL = 427.0
CODE = {2: 340.0, 3: 234.0, 4: 332.0, 5: 496.0, 6: 416.0, 7: 315.0, 8: 334.0}  # of each kind of strip that a call has
CHUNKS = 121.0  # a chunk
SCALE = 109.0  # a row of a chunk and group
STRIP, SUM = 25.0, 14.0  # a strip and group; a channel of it and row, with its scale
# A block of a strip's weights, by rows and channels.
BLOCK: dict[int, dict[tuple[int, int], float]] = {
    2: {(1, 1): 13.6, (1, 4): 60.2, (2, 1): 30.8, (2, 4): 94.4},
    3: {(1, 1): 57.5, (2, 1): 83.9},
    4: {(1, 1): 4.7, (1, 4): 22.7, (1, 8): 42.6, (2, 1): 9.4, (2, 4): 31.4},
    5: {(1, 1): 60.0, (1, 2): 116.8, (2, 1): 75.0, (2, 2): 157.6},
    6: {(1, 1): 25.7, (1, 2): 56.2, (2, 1): 46.5, (2, 2): 79.0},
    7: {(1, 1): 88.1, (2, 1): 129.1},
    8: {(1, 1): 2.6, (1, 4): 9.9, (1, 8): 16.1, (2, 1): 5.0, (2, 4): 15.3, (2, 8): 27.5},
}
PADDED, PAD = 28.5, 10.4  # a group of a chunk that ends within a block, and an element of the padded ones
FINISH, FINISHED = 72.0, 6.4  # where an addend joins a row of a chunk, and a channel of it
# Strips over all groups: their code, a chunk, a strip; a group of one by rows, a block of its weights.
WHOLE_CODE, WHOLE_CHUNK, WHOLE_STRIP = 543.0, 303.0, 98.0
WHOLE_GROUP = {1: 77.0, 2: 88.0, 4: 240.0}
WHOLE_BLOCK = {4: {1: 43.1, 2: 31.8}, 8: {1: 15.8, 4: 24.0}}


def work_for(bits: int) -> Callable[[dict[str, Any]], Work]:
    """The work of calls of one width."""

    def work(a: dict[str, Any]) -> Work:
        m, n, k, group_size = (int(a[key]) for key in ("m", "n", "k", "group_size"))
        adds = int(a.get("ldy", k + 1)) <= k  # of matrices that do not widen most add a residual
        channels = -(-n // CORES)
        cycles = _cycles(bits, m, channels, k, group_size, adds)
        if n % CORES and channels > 1:  # where one channel less makes strips that are not whole
            cycles = max(cycles, _cycles(bits, m, channels - 1, k, group_size, adds))
        rest = max(0.0, cycles - MAC * m * channels * k) / FLOP
        return Work(m * n * k, round(rest * n / channels), n)

    return work


@lru_cache(maxsize=8192)
def _cycles(bits: int, m: int, channels: int, k: int, group_size: int, adds: bool) -> float:
    """Cycles of a core with so many channels."""
    groups, block = n_groups(k, group_size), block_elements(bits)
    last = k - (groups - 1) * group_size
    whole = bits in WHOLE and channels >= WHOLE_LEAST and last % block == 0 and (groups == 1 or last == group_size)
    cycles, left = CALL, m
    call = _Call(bits, channels, k, group_size, adds)
    if whole and m >= WHOLE[bits] and (WHOLE[bits] == 4 or groups > 1):
        cycles += call.whole(WHOLE[bits], 4, m // WHOLE[bits], channels)
        left = m % WHOLE[bits]
    if left >= PAIRS:
        cycles += call.passes(PAIRS, left // PAIRS, False)
    if left % PAIRS:
        cycles += call.passes(1, 1, whole and groups > 2)
    return cycles


class _Call:
    """The parts of a call of one core."""

    def __init__(self, bits: int, channels: int, k: int, group_size: int, adds: bool) -> None:
        self.bits, self.channels, self.adds, self.block = bits, channels, adds, block_elements(bits)
        self.groups = n_groups(k, group_size)
        self.last = k - (self.groups - 1) * group_size
        self.kinds = ((group_size, self.groups - 1), (self.last, 1))  # inputs of a group, and how many are like it

    def passes(self, rows: int, count: int, whole: bool) -> float:
        """Passes of so many rows over all channels: in strips, and over those that are left, if they are few."""
        strip = 8 if whole else STRIPS[self.bits][rows - 1]
        left = self.channels % strip
        if 2 * left > strip and self.channels % (self._chunk() // rows) > strip:
            left = 0  # a last strip begins earlier
        cycles = 0.0
        if self.channels > left:
            cycles += (self.whole if whole else self._walk)(rows, strip, count, self.channels - left)
        return cycles + (self._walk(rows, 1, count, left) if left else 0.0)

    def whole(self, rows: int, strip: int, count: int, channels: int) -> float:
        """Passes in strips that take all groups at once."""
        blocks = self.groups * (self.last // self.block) * WHOLE_BLOCK[self.bits][rows]
        of_strip = WHOLE_STRIP + self.groups * WHOLE_GROUP[rows] + blocks
        cycles = 0.0
        for size in _chunks(channels, CHUNK // rows) if self.adds else (channels,):
            left = size % strip
            cycles += WHOLE_CHUNK + -(-size // strip) * of_strip
            cycles += rows * (_finish(size - left if self.adds else 0) + _finish(left))
        return WHOLE_CODE + count * cycles

    def _walk(self, rows: int, strip: int, count: int, channels: int) -> float:
        cycles = 0.0
        for size in _chunks(channels, self._chunk() // rows):
            cycles += CHUNKS + (rows * _finish(size) if self.adds else 0.0)
            cycles += sum(groups * self._group(rows, strip, inputs, size) for inputs, groups in self.kinds if groups)
        return CODE[self.bits] + count * cycles

    def _group(self, rows: int, strip: int, inputs: int, channels: int) -> float:
        blocks, left = -(-inputs // self.block), inputs % self.block
        cycles = rows * SCALE + (PADDED + rows * self.block * PAD if left else 0.0)
        for width, strips in self._strips(rows, strip, channels):
            cycles += strips * (STRIP + width * rows * SUM + blocks * BLOCK[self.bits][rows, width])
        return cycles

    def _strips(self, rows: int, strip: int, channels: int) -> tuple[tuple[int, int], ...]:
        """Channels of strips, and how many there are."""
        if strip == 1 and (rows, 4) in BLOCK[self.bits] and (self.bits == 8 or (self.bits == 4 and rows == 1)):
            return (4, channels // 4), (1, channels % 4)
        return ((strip, -(-channels // strip)),)

    def _chunk(self) -> int:
        return CHUNK // 2 if self.adds else CHUNK


def _finish(channels: int) -> float:
    return FINISH + FINISHED * channels if channels else 0.0


def _chunks(channels: int, most: int) -> Iterator[int]:
    return (min(most, channels - first) for first in range(0, channels, most))
