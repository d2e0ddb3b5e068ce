"""Intervals of a memory level, searched by address: which buffer lies where, and what every byte holds."""

from __future__ import annotations

from bisect import bisect_right

from edgec.memory.plan import Buffer, Region


class ByOffset:
    """Disjoint buffers of one level, searched by address."""

    def __init__(self, buffers: list[Buffer]) -> None:
        self.buffers = sorted(buffers, key=lambda b: b.offset)
        self.offsets = [b.offset for b in self.buffers]

    def touching(self, start: int, end: int) -> Buffer | None:
        """A buffer that shares a byte with [start, end)."""
        first = max(bisect_right(self.offsets, start) - 1, 0)
        for b in self.buffers[first:]:
            if b.offset >= end:
                return None
            if b.offset + b.size > start:
                return b
        return None

    def holding(self, start: int, end: int) -> bool:
        """Whether one buffer contains [start, end)."""
        at = bisect_right(self.offsets, start) - 1
        return at >= 0 and end <= self.buffers[at].offset + self.buffers[at].size


class Contents:
    """What each byte of a level holds: disjoint intervals (start, end, value, at)."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.items: list[tuple[int, int, str, int]] = []

    def write(self, r: Region) -> None:
        """From now on the region's bytes are its value's."""
        first, last = self._span(r.offset, r.offset + r.size)
        kept = []
        for start, end, value, at in self.items[first:last]:
            if start < r.offset:
                kept.append((start, r.offset, value, at))
            if end > r.offset + r.size:
                cut = r.offset + r.size
                kept.append((cut, end, value, at + cut - start))
        kept.append((r.offset, r.offset + r.size, r.value, r.at))
        kept.sort()
        self.items[first:last] = kept
        self.starts[first:last] = [k[0] for k in kept]

    def holds(self, r: Region) -> str:
        """Empty if the region holds its value, else what is wrong."""
        at, end = r.offset, r.offset + r.size
        first, last = self._span(at, end)
        for start, stop, value, inside in self.items[first:last]:
            if start > at:
                break
            if value != r.value or inside + at - start != r.at + at - r.offset:
                return f"holds byte {inside + at - start} of {value} at {at}"
            at = stop
            if at >= end:
                return ""
        return f"was never written at {at}"

    def _span(self, start: int, end: int) -> tuple[int, int]:
        first = max(bisect_right(self.starts, start) - 1, 0)
        if first < len(self.items) and self.items[first][1] <= start:
            first += 1
        last = first
        while last < len(self.items) and self.items[last][0] < end:
            last += 1
        return first, last
