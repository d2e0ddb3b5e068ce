"""Cluster control: boot addresses of the cluster cores, and the mask that lets them fetch.

The configuration (who goes first in L1) and clock gating keep what is written and change nothing here.
"""

from __future__ import annotations

from collections.abc import Callable

from edgec.errors import VerifyError
from edgec.verify.board.bus import no_register

BASE, END = 0x10200000, 0x10200400
FETCH_ENABLE, CONFIGURATION, CLOCK_GATE, BOOT = 0x08, 0x18, 0x20, 0x40


class ClusterControl:
    """Calls `start(core, boot address)` when a core is let go for the first time."""

    name = "cluster control"

    def __init__(self, cores: int, start: Callable[[int, int], None]) -> None:
        self._boot: list[int | None] = [None] * cores
        self._kept = {CONFIGURATION: 0, CLOCK_GATE: 0}
        self._enabled = 0
        self._start = start

    def read(self, _core: int, offset: int) -> int:
        """The fetch-enable mask or a boot address."""
        if offset == FETCH_ENABLE:
            return self._enabled
        if offset in self._kept:
            return self._kept[offset]
        boot = self._boot[self._number(offset, "reads")]
        return 0 if boot is None else boot

    def write(self, _core: int, offset: int, value: int) -> None:
        """Set a boot address, or let cores go."""
        if offset == FETCH_ENABLE:
            for number, boot in enumerate(self._boot):
                if value & ~self._enabled & 1 << number:
                    if boot is None:
                        raise VerifyError(f"lets core {number} go without a boot address")
                    self._start(number, boot)
            self._enabled |= value & (1 << len(self._boot)) - 1
        elif offset in self._kept:
            self._kept[offset] = value
        else:
            self._boot[self._number(offset, "writes")] = value

    def _number(self, offset: int, verb: str) -> int:
        number = (offset - BOOT) // 4
        if offset < BOOT or number >= len(self._boot):
            raise no_register(self, offset, verb)
        return number
