"""What lies outside the cluster: standard output, the exit register; and the instruction cache's switch."""

from __future__ import annotations

from collections.abc import Callable

from edgec.verify.board.bus import no_register

STDOUT_BASE, STDOUT_END = 0x1A10F000, 0x1A110000
CONTROL_BASE, CONTROL_END = 0x1A104000, 0x1A105000
CACHE_BASE, CACHE_END = 0x10201400, 0x10201800
EXIT = 0xA0  # exit code | 1 << 31


class StandardOutput:
    """A character for each write, whatever the offset: cores may have places of their own."""

    name = "standard output"

    def __init__(self, text: bytearray) -> None:
        self._text = text

    def read(self, _core: int, _offset: int) -> int:
        """Nothing."""
        return 0

    def write(self, _core: int, _offset: int, value: int) -> None:
        """Append a character."""
        self._text.append(value & 0xFF)


class SocControl:
    """The exit register; other registers keep what is written."""

    name = "SoC control"

    def __init__(self, leave: Callable[[int], None]) -> None:
        self._leave = leave
        self._registers: dict[int, int] = {}

    def read(self, _core: int, offset: int) -> int:
        """What was written."""
        return self._registers.get(offset, 0)

    def write(self, _core: int, offset: int, value: int) -> None:
        """Keep the value; end the program if it is an exit code."""
        self._registers[offset] = value
        if offset == EXIT and value >> 31:
            self._leave(value & 0x7FFFFFFF)


class CacheControl:
    """Accepts enabling and flushing."""

    name = "instruction cache"

    def read(self, _core: int, _offset: int) -> int:
        """Nothing."""
        return 0

    def write(self, _core: int, offset: int, _value: int) -> None:
        """Accept."""
        if offset > 0x0C:
            raise no_register(self, offset, "writes")
