"""The cluster's timer: a count that grows, not a time.

With counted instructions it is the number that the reading core has executed; otherwise each read finds one more.
"""

from __future__ import annotations

from collections.abc import Callable

from edgec.verify.board.bus import no_register

BASE, END = 0x10200400, 0x10200800
COUNT_LOW, COUNT_HIGH, START_LOW, START_HIGH, RESET_LOW, RESET_HIGH = 0x08, 0x0C, 0x18, 0x1C, 0x20, 0x24
LAST = 0x24


class Timer:
    """`count(core)` gives a core's instructions, or None if they are not counted."""

    name = "timer"

    def __init__(self, count: Callable[[int], int | None]) -> None:
        self._count = count
        self._reads = 0
        self._zero = [0, 0]
        self._registers: dict[int, int] = {}

    def read(self, core: int, offset: int) -> int:
        """The count since the last reset, or what was written."""
        if offset in (COUNT_LOW, COUNT_HIGH):
            return self._now(core) - self._zero[offset == COUNT_HIGH] & 0xFFFFFFFF
        return self._registers.get(offset, 0)

    def write(self, core: int, offset: int, value: int) -> None:
        """Reset a count, or keep the value."""
        if offset > LAST:
            raise no_register(self, offset, "writes")
        if offset in (RESET_LOW, RESET_HIGH):
            self._zero[offset == RESET_HIGH] = self._now(core)
        self._registers[offset] = value

    def _now(self, core: int) -> int:
        count = self._count(core)
        if count is None:
            self._reads += 1
            return self._reads
        return count
