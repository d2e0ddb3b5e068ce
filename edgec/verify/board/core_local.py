"""The page of 4 KiB that each core sees at the top of the address space, for itself alone.

It is the translation's working memory: ordinary code reaches it with one instruction, through a negative offset from
register zero. No program uses these addresses; `unexpected_write` finds one that does.
"""

from __future__ import annotations

import mmap

from edgec.errors import VerifyError
from edgec.verify.board.memory import PAGE, PAINT

ADDRESS = 0x100000000 - PAGE

# Offsets from address 0.
HART = -4
WAIT_ADDRESS, WAIT_RESUME, WAIT_RESULT = -8, -12, -16  # of p.elw: what it reads, where it goes on, what it read
ACTIVE = (-20, -24)  # the address of the counter that hardware loop 0 or 1 uses now
NO_COUNTER = (-28, -32)  # where ACTIVE points at first
SAVED = (-36, -40, -44, -48, -52)  # scratch registers
LAST = -52
FIRST_COUNTER = -2048  # one word for each end of a hardware loop
MAXIMUM_COUNTERS = (LAST - FIRST_COUNTER) // 4


def counter(index: int) -> int:
    """Offset of a hardware loop's counter."""
    if index >= MAXIMUM_COUNTERS:
        raise VerifyError(
            f"the program has more than {MAXIMUM_COUNTERS} hardware loops, which is all the board can hold"
        )
    return FIRST_COUNTER + 4 * index


class CoreLocal:
    """The page of one core."""

    def __init__(self, hart: int, counters: int) -> None:
        self.data = mmap.mmap(-1, PAGE)
        self._counters = counters
        self.data[:] = bytes([PAINT]) * PAGE
        self.data[PAGE + FIRST_COUNTER : PAGE + FIRST_COUNTER + 4 * counters] = bytes(4 * counters)
        self[HART] = hart
        for active, no_counter in zip(ACTIVE, NO_COUNTER, strict=True):
            self[active] = no_counter & 0xFFFFFFFF
            self[no_counter] = 0

    def __getitem__(self, offset: int) -> int:
        return int.from_bytes(self.data[PAGE + offset : PAGE + offset + 4], "little")

    def __setitem__(self, offset: int, value: int) -> None:
        self.data[PAGE + offset : PAGE + offset + 4] = value.to_bytes(4, "little")

    def unexpected_write(self) -> int | None:
        """An address of the page that something other than the translation has changed."""
        used_end = PAGE + FIRST_COUNTER + 4 * self._counters
        for first, end in ((0, PAGE + FIRST_COUNTER), (used_end, PAGE + LAST)):
            changed = self.data[first:end].lstrip(bytes([PAINT]))
            if changed:
                return ADDRESS + end - len(changed)
        return None
