"""mchan, the cluster's DMA: transfers between L1 and the other memories, in one or two dimensions.

A core reads the queue register to allocate a transfer id, then writes a command word, the L1 address, the outer
address, and for 2D the bytes of a line and the distance of lines on the outer side. All commands that a core gives
belong to the id that it allocated last. When the last byte of an id has moved, event 8 goes to the core, if the
command asks for it.

With `late`, a transfer happens when its core reads the status register, or when all cores wait: a program that uses
data before it has waited for them finds old ones.
Source: the register header of mchan version 7, and its public model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgec.errors import VerifyError
from edgec.verify.board.bus import CONTROLLER, no_register
from edgec.verify.board.event_unit import DMA_EVENT, EventUnit
from edgec.verify.board.memory import BASES, L1, Memories

BASE, END = 0x10204400, 0x10204800
QUEUE, STATUS = 0x00, 0x04
IDS = 16
LENGTH_BITS = 17
MAXIMUM_BYTES = (1 << LENGTH_BITS) - 1
INTO_L1, INCREMENT, TWO_D, EVENT, INTERRUPT, BROADCAST = (1 << bit for bit in range(17, 23))


@dataclass(frozen=True)
class _Transfer:
    core: int
    id: int
    command: int
    inner: int  # address in L1
    outer: int
    line: int  # bytes
    stride: int

    @property
    def size(self) -> int:
        return self.command & MAXIMUM_BYTES


@dataclass
class _Channel:
    """A core's side of the DMA."""

    id: int | None = None
    words: list[int] = field(default_factory=list)  # of the command that is being written


class Mchan:
    """The DMA of `cores` cluster cores."""

    name = "DMA"

    def __init__(self, cores: int, memories: Memories, events: EventUnit, late: bool) -> None:
        self._channels = [_Channel() for _ in range(cores)]
        self._memories, self._events, self._late = memories, events, late
        self._allocated: set[int] = set()
        self._queue: list[_Transfer] = []
        self._polls: dict[int, int] = {}  # status reads of a core since something last moved
        self.transfers = 0
        self.bytes = 0

    def read(self, core: int, offset: int) -> int:
        """Allocate an id, or the status: a bit for each busy id, and 16 bits above for each allocated id."""
        channel = self._channel(core)
        if offset == QUEUE:
            free = [number for number in range(IDS) if number not in self._allocated]
            if not free:
                raise VerifyError(f"allocates a transfer while all {IDS} ids are in use: free them after waiting")
            channel.id = free[0]
            self._allocated.add(free[0])
            return free[0]
        if offset == STATUS:
            self._poll(core)
            busy = sum(1 << number for number in {transfer.id for transfer in self._queue})
            return busy | sum(1 << number for number in self._allocated) << 16
        raise no_register(self, offset, "reads")

    def write(self, core: int, offset: int, value: int) -> None:
        """The next word of a command, or ids to free."""
        channel = self._channel(core)
        if offset == STATUS:
            busy = next((t.id for t in self._queue if value >> t.id & 1), None)
            if busy is not None:
                raise VerifyError(f"frees transfer id {busy}, which is still busy")
            self._allocated -= {number for number in range(IDS) if value >> number & 1}
        elif offset == QUEUE:
            channel.words.append(value)
            self._check_command(channel.words[0])
            if len(channel.words) == (5 if channel.words[0] & TWO_D else 3):
                words, channel.words = channel.words, []
                self._start(core, channel, words)
        else:
            raise no_register(self, offset, "writes")

    def finish_oldest(self) -> bool:
        """Do the transfer that has waited longest; whether there is one."""
        return self._do(self._queue[:1])

    def _channel(self, core: int) -> _Channel:
        if core == CONTROLLER:
            raise VerifyError("uses the DMA's core registers, which only cluster cores reach")
        return self._channels[core]

    def _check_command(self, command: int) -> None:
        if not command & MAXIMUM_BYTES:
            raise VerifyError(f"starts a DMA transfer of 0 or more than {MAXIMUM_BYTES} B (command {command:#x})")
        if command >> 23:
            raise VerifyError(f"starts a DMA transfer with unknown bits in its command {command:#x}")
        if not command & INCREMENT:
            raise VerifyError(f"starts a DMA transfer that does not increment its addresses (command {command:#x})")

    def _start(self, core: int, channel: _Channel, words: list[int]) -> None:
        if channel.id is None or channel.id not in self._allocated:
            raise VerifyError("starts a DMA transfer without an allocated id")
        line, stride = (words[3], words[4]) if words[0] & TWO_D else (words[0] & MAXIMUM_BYTES, 0)
        transfer = _Transfer(core, channel.id, words[0], words[1], words[2], line, stride)
        if not line or transfer.size % line:  # what a shorter last line does is not known
            raise VerifyError(f"starts a 2D DMA transfer of {transfer.size} B in lines of {line} B")
        self._check_addresses(transfer)
        self._queue.append(transfer)
        self._polls.clear()
        if not self._late:
            self.finish_oldest()

    def _check_addresses(self, transfer: _Transfer) -> None:
        """Both sides must lie in memories when the transfer is started, not only when it happens."""
        inner = self._memories.region(transfer.inner, transfer.size)
        if inner is None or inner.name != L1:
            l1 = f"{L1} at {BASES[L1]:#010x}"
            raise VerifyError(f"starts a DMA transfer of {transfer.size} B at {transfer.inner:#010x}, not inside {l1}")
        for _, outer, size in self._lines(transfer):
            region = self._memories.region(outer, size)
            if region is None:
                place = self._memories.place(outer + size - 1 if self._memories.region(outer, 1) else outer)
                raise VerifyError(
                    f"starts a DMA transfer {place} (addresses {outer:#010x} to {outer + size - 1:#010x})"
                )
            if not transfer.command & INTO_L1 and not region.writable:
                raise VerifyError(f"starts a DMA transfer into read-only {region.name} (address {outer:#010x})")

    def _lines(self, transfer: _Transfer) -> list[tuple[int, int, int]]:
        """(L1 address, outer address, bytes) of each line."""
        return [
            (transfer.inner + done, transfer.outer + i * transfer.stride, transfer.line)
            for i, done in enumerate(range(0, transfer.size, transfer.line))
        ]

    def _poll(self, core: int) -> None:
        """A core that reads the status again and again waits for whatever it is: then all transfers happen."""
        self._polls[core] = self._polls.get(core, 0) + 1
        self._do([t for t in self._queue if t.core == core or self._polls[core] > IDS])

    def _do(self, transfers: list[_Transfer]) -> bool:
        for transfer in transfers:
            self._queue.remove(transfer)
            for inner, outer, size in self._lines(transfer):
                if transfer.command & INTO_L1:
                    self._memories.write(inner, self._memories.read(outer, size))
                else:
                    self._memories.write(outer, self._memories.read(inner, size))
            self.transfers += 1
            self.bytes += transfer.size
            if transfer.command & EVENT and all(other.id != transfer.id for other in self._queue):
                self._events.trigger(DMA_EVENT, 0 if transfer.command & BROADCAST else 1 << transfer.core)
        return bool(transfers)
