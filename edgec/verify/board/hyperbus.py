"""The uDMA's HyperBus channel: transfers between L2 and the RAM or the flash off the chip.

A transfer is the bus command, the address in the device, the L2 address, the bytes, and the start bit of a direction.
Transfers happen in the order in which they were started; QUEUE of them may be outstanding. L2 is written in words and
the bus moves half-words, so the board takes nothing but whole words of L2 and even addresses in the device.

With `late`, a transfer happens when the status register is read again and again, or when all cores wait: a program that
uses data before it has waited for them finds old ones. A read of flash must not cross a page of the page register:
the channel would send its first part only.
Source: register header and RTL of the PULP platform's udma_hyper, and the public model of the chip.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.errors import VerifyError
from edgec.verify.board.bus import no_register
from edgec.verify.board.memory import L2, PAINT, Memories

CLOCKS_BASE, CLOCKS_END = 0x1A102000, 0x1A102004
CLOCK = 1 << 4
BASE, END = 0x1A102280, 0x1A1023A8
READ, WRITE, COMMAND, ADDRESS, STATUS = 0x00, 0x0C, 0x18, 0x1C, 0x24
PAGE_BOUND, LATENCY, TWICE, SELECT = 0x100, 0x104, 0x108, 0x120
COMMANDS = {READ: 5, WRITE: 1}  # linear bursts; without bit 0 they would wrap
START = 0x14  # enable, words of 32 bits
QUEUE = 8
PAGES = {0: 128, 1: 256, 2: 512, 3: 1024, 4: None}  # bytes, by what the page register holds
MAXIMUM_BYTES = (1 << 20) - 1
RAM, FLASH = 0, 1
NAMES = {RAM: "HyperRAM", FLASH: "HyperFlash"}
KEPT = (READ, READ + 4, WRITE, WRITE + 4, COMMAND, ADDRESS, PAGE_BOUND, LATENCY, TWICE, SELECT)


@dataclass(frozen=True)
class _Transfer:
    into_l2: bool
    device: int
    near: int  # address in L2
    far: int  # in the device
    size: int


class HyperBus:
    """The channel, the RAM and the flash.

    ram_bytes  size of the RAM, which holds PAINT at first
    flash      what the flash holds; 0xFF behind
    """

    name = "HyperBus"

    def __init__(self, memories: Memories, late: bool, ram_bytes: int, flash: bytes) -> None:
        self.clocks = UdmaClocks()
        self._memories, self._late = memories, late
        self._data = {RAM: bytearray([PAINT]) * ram_bytes, FLASH: bytearray(flash + b"\xff" * (-len(flash) % 4))}
        self._registers: dict[int, int] = {}
        self._queue: list[_Transfer] = []
        self._polls = 0  # status reads since a register was written
        self.transfers = 0
        self.bytes = 0

    def ram(self, offset: int, size: int) -> bytes:
        """Bytes of the RAM, as a debugger sees them; VerifyError outside."""
        held = len(self._data[RAM])
        if not 0 <= offset <= offset + size <= held:
            raise VerifyError(f"{size} B at {offset:#x} are not in the {held} B of {NAMES[RAM]}")
        return bytes(self._data[RAM][offset : offset + size])

    def read(self, _core: int, offset: int) -> int:
        """A register. Each status read but the first, which may ask for room in the queue only, lets time pass."""
        self._check_clock("reads")
        if offset == STATUS:
            outstanding = len(self._queue)
            self._polls += 1
            if self._polls > 1:
                self.finish_oldest()
            return outstanding << 1 | (outstanding > 0)
        if offset not in KEPT:
            raise no_register(self, offset, "reads")
        return self._registers.get(offset, 0)

    def write(self, _core: int, offset: int, value: int) -> None:
        """A register, or the start of a transfer."""
        self._check_clock("writes")
        self._polls = 0
        if offset in (READ + 8, WRITE + 8):
            self._start(offset - 8, value)
        elif offset not in KEPT:
            raise no_register(self, offset, "writes")
        elif offset >= PAGE_BOUND and self._queue:
            raise VerifyError(f"writes register {offset:#x} of the {self.name} while a transfer is under way")
        else:
            self._registers[offset] = value

    def finish_oldest(self) -> bool:
        """Do the transfer that has waited longest; whether there is one."""
        if not self._queue:
            return False
        t = self._queue.pop(0)
        data = self._data[t.device]
        if t.into_l2:
            self._memories.write(t.near, bytes(data[t.far : t.far + t.size]))
        else:
            data[t.far : t.far + t.size] = self._memories.read(t.near, t.size)
        self.transfers += 1
        self.bytes += t.size
        return True

    def _check_clock(self, verb: str) -> None:
        if not self.clocks.enabled & CLOCK:
            raise VerifyError(f"{verb} a register of the {self.name}, whose clock is off")

    def _start(self, direction: int, value: int) -> None:
        what = "read" if direction == READ else "write"
        if value != START:
            raise VerifyError(f"starts a {self.name} {what} with configuration {value:#x}, not {START:#x}")
        unset = [r for r in (direction, direction + 4, ADDRESS, *KEPT[-4:]) if r not in self._registers]
        if unset:
            raise VerifyError(f"starts a {self.name} {what} without writing register {unset[0]:#x}")
        if self._registers.get(COMMAND) != COMMANDS[direction]:
            given = self._registers.get(COMMAND, 0)
            raise VerifyError(f"starts a {self.name} {what} with command {given}, not {COMMANDS[direction]}")
        if len(self._queue) == QUEUE:
            raise VerifyError(f"starts a {self.name} {what} while {QUEUE} are outstanding")
        near, size, far = (self._registers[r] for r in (direction, direction + 4, ADDRESS))
        transfer = _Transfer(direction == READ, self._registers[SELECT], near, far, size)
        self._check(transfer, what)
        self._queue.append(transfer)
        if not self._late:
            self.finish_oldest()

    def _check(self, t: _Transfer, what: str) -> None:
        """Both sides must lie in memories when the transfer is started, not only when it happens."""
        if not 0 < t.size <= MAXIMUM_BYTES:
            raise VerifyError(f"starts a {self.name} {what} of {t.size} B: 1 to {MAXIMUM_BYTES} can be")
        if (t.near | t.size) % 4 or t.far % 2:
            where = f"{t.size} B, L2 address {t.near:#010x}, outer address {t.far:#x}"
            raise VerifyError(f"starts a {self.name} {what} that is not of whole words ({where})")
        region = self._memories.region(t.near, t.size)
        if region is None or region.name != L2:
            raise VerifyError(f"starts a {self.name} {what} of {t.size} B at {t.near:#010x}, not inside {L2}")
        if t.device not in NAMES:
            raise VerifyError(f"starts a {self.name} {what} of device {t.device}, which is not there")
        name, held = NAMES[t.device], len(self._data[t.device])
        if t.far + t.size > held:
            raise VerifyError(f"starts a {self.name} {what} of {t.size} B at {t.far:#x} of {name}, which has {held} B")
        if t.device == FLASH:
            self._check_flash(t)

    def _check_flash(self, t: _Transfer) -> None:
        if not t.into_l2:
            raise VerifyError(f"starts a {self.name} write into {NAMES[FLASH]}")
        page = PAGES.get(self._registers[PAGE_BOUND])
        if page is not None and t.far // page != (t.far + t.size - 1) // page:
            raise VerifyError(f"starts a {self.name} read of {NAMES[FLASH]} across a page of {page} B ({t.far:#x})")


class UdmaClocks:
    """The uDMA's register of clocks, a bit a peripheral."""

    name = "uDMA"

    def __init__(self) -> None:
        self.enabled = 0

    def read(self, _core: int, _offset: int) -> int:
        """The clocks that run."""
        return self.enabled

    def write(self, _core: int, _offset: int, value: int) -> None:
        """Start and stop clocks."""
        self.enabled = value
