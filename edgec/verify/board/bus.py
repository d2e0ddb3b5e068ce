"""The peripheral bus: which device answers at an address.

A device reads and writes 32-bit registers at offsets from its base; a core is given by its number, the controller's is
CONTROLLER. Whatever a device does not know or does not allow is a VerifyError, to which the core adds where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgec.errors import VerifyError
from edgec.verify.board.memory import PAGE

CONTROLLER = 8


class Device(Protocol):
    """A block of registers."""

    name: str

    def read(self, core: int, offset: int) -> int:
        """The value of a register."""

    def write(self, core: int, offset: int, value: int) -> None:
        """Write a register."""


@dataclass(frozen=True)
class Window:
    """Addresses [first, end) of one device."""

    first: int
    end: int
    device: Device


class Bus:
    """Finds the device of an address."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self._windows = windows

    def pages(self) -> Iterable[int]:
        """The addresses of all pages of 4 KiB that hold devices."""
        return sorted({at for w in self._windows for at in range(w.first // PAGE * PAGE, w.end, PAGE)})

    def read(self, core: int, address: int, size: int) -> int:
        """Read a register."""
        window = self._window(address, size, "reads")
        return window.device.read(core, address - window.first) & 0xFFFFFFFF

    def write(self, core: int, address: int, size: int, value: int) -> None:
        """Write a register."""
        window = self._window(address, size, "writes")
        window.device.write(core, address - window.first, value & 0xFFFFFFFF)

    def _window(self, address: int, size: int, verb: str) -> Window:
        for window in self._windows:
            if window.first <= address < window.end:
                if size != 4 or address % 4:
                    raise VerifyError(f"{verb} {size} B of a register of the {window.device.name} ({address:#010x})")
                return window
        raise VerifyError(f"{verb} a register that no device has (address {address:#010x})")


def no_register(device: Device, offset: int, verb: str) -> VerifyError:
    """The error for a register that a device does not have, or that this access does not fit."""
    return VerifyError(f"{verb} register {offset:#x} of the {device.name}, which the board does not allow")
