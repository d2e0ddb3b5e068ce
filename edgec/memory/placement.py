"""Placement of buffers with lifetimes in one level: first fit, largest first (Pisarchyk & Lee 2020, greedy by size)."""

from __future__ import annotations

from collections.abc import Iterable

from edgec.memory.plan import ALIGN, Buffer


def align(size: int) -> int:
    """Round up to the buffers' alignment."""
    return -(-size // ALIGN) * ALIGN


def free_gaps(taken: Iterable[tuple[int, int]], floor: int, capacity: int) -> list[tuple[int, int]]:
    """Free (offset, size) intervals of [floor, capacity) between taken (offset, end) intervals, ascending."""
    gaps, at = [], align(floor)
    for start, end in sorted(taken):
        if start > at:
            gaps.append((at, start - at))
        at = max(at, align(end))
    if capacity > at:
        gaps.append((at, capacity - at))
    return gaps


def first_fit(buffer: Buffer, placed: Iterable[Buffer], floor: int, capacity: int, multiple: int = ALIGN) -> int | None:
    """The lowest offset, a multiple of `multiple`, at which a buffer meets nothing alive at the same time, or None."""
    taken = [(b.offset, b.offset + b.size) for b in placed if b.level == buffer.level and b.meets(buffer)]
    for start, size in free_gaps(taken, floor, capacity):
        offset = -(-start // multiple) * multiple
        if offset + buffer.size <= start + size:
            return offset
    return None


def blocks(buffers: Iterable[Buffer]) -> list[Buffer]:
    """Buffers that live for good, joined where no gap that could hold anything lies between them."""
    joined: list[Buffer] = []
    for b in sorted(buffers, key=lambda b: (b.level, b.offset)):
        last = joined[-1] if joined else None
        if last is not None and last.level == b.level and b.offset <= align(last.offset + last.size):
            size = max(last.size, b.offset + b.size - last.offset)
            joined[-1] = Buffer(last.name, last.level, last.offset, size, last.kind)
        else:
            joined.append(b)
    return joined
