"""The event unit: event buffers and masks of each core, hardware barriers, software events, waiting.

Each core sees its own registers at the same addresses. A wait is a p.elw of one of the wait registers: `begin_wait`
does what the access triggers, `end_wait` answers once a masked event has arrived. The answer is the masked events, on
which programs should not rely: the public model answers 0 to a core that had to wait. A barrier with target mask 0, and
a software event with core mask 0, reach all cores.
Source: the PULP cluster event unit, registers as in its C header.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.errors import VerifyError
from edgec.verify.board.bus import CONTROLLER, no_register

BASE, END = 0x10204000, 0x10204400
MASK, MASK_AND, MASK_OR = 0x00, 0x04, 0x08
BUFFER, BUFFER_MASKED, BUFFER_CLEAR = 0x1C, 0x20, 0x28
WAIT, WAIT_CLEAR = 0x38, 0x3C
TRIGGER, TRIGGER_WAIT, TRIGGER_WAIT_CLEAR, TRIGGER_END = 0x100, 0x140, 0x180, 0x1C0  # software events, 4 bytes each
BARRIERS, BARRIER_BYTES, BARRIER_COUNT = 0x200, 0x20, 9
BARRIER_MASK, BARRIER_STATUS, BARRIER_TARGET = 0x00, 0x04, 0x0C
BARRIER_TRIGGER, BARRIER_SELF, BARRIER_WAIT, BARRIER_WAIT_CLEAR = 0x10, 0x14, 0x18, 0x1C

SOFTWARE_EVENTS = 8  # events 0 to 7
DMA_EVENT, NEUREKA_EVENT, BARRIER_EVENT = 8, 12, 16


@dataclass
class _CoreEvents:
    buffer: int = 0
    mask: int = 0
    clears: bool = False  # the wait that is under way clears the events that end it


@dataclass
class _Barrier:
    mask: int = 0
    status: int = 0
    target: int = 0


class EventUnit:
    """The event unit of `cores` cluster cores."""

    name = "event unit"

    def __init__(self, cores: int) -> None:
        self._cores = [_CoreEvents() for _ in range(cores)]
        self._barriers = [_Barrier() for _ in range(BARRIER_COUNT)]

    def trigger(self, event: int, core_mask: int = 0) -> None:
        """Set an event in the buffers of these cores; mask 0 means all."""
        for number, core in enumerate(self._cores):
            if core_mask == 0 or core_mask >> number & 1:
                core.buffer |= 1 << event

    def waits_for(self, core: int) -> int:
        """The events that end a wait of this core."""
        return self._cores[core].mask

    # ---- Registers ----

    def read(self, core: int, offset: int) -> int:
        """A register; one that waits can only be read like this when the wait is over at once."""
        events = self._own(core)
        if offset == MASK:
            return events.mask
        if offset == BUFFER:
            return events.buffer
        if offset == BUFFER_MASKED:
            return events.buffer & events.mask
        if offset >= BARRIERS:
            barrier, register = self._barrier(offset)
            if register in (BARRIER_MASK, BARRIER_STATUS, BARRIER_TARGET):
                return {BARRIER_MASK: barrier.mask, BARRIER_STATUS: barrier.status}.get(register, barrier.target)
        if self.is_wait(offset):
            self.begin_wait(core, offset)
            answer = self.end_wait(core)
            if answer is None:
                raise VerifyError("waits by a load that is not p.elw")
            return answer
        raise no_register(self, offset, "reads")

    def write(self, core: int, offset: int, value: int) -> None:
        """A register."""
        events = self._own(core)
        if offset == MASK:
            events.mask = value
        elif offset == MASK_AND:
            events.mask &= ~value
        elif offset == MASK_OR:
            events.mask |= value
        elif offset == BUFFER_CLEAR:
            events.buffer &= ~value
        elif TRIGGER <= offset < TRIGGER + 4 * SOFTWARE_EVENTS:
            self.trigger((offset - TRIGGER) // 4, value)
        elif offset >= BARRIERS:
            self._write_barrier(core, offset, value)
        else:
            raise no_register(self, offset, "writes")

    # ---- Waiting ----

    @staticmethod
    def is_wait(offset: int) -> bool:
        """Whether reading this register waits."""
        barrier = offset >= BARRIERS and (offset - BARRIERS) % BARRIER_BYTES in (BARRIER_WAIT, BARRIER_WAIT_CLEAR)
        return offset in (WAIT, WAIT_CLEAR) or barrier

    def begin_wait(self, core: int, offset: int) -> None:
        """What a read of a wait register triggers."""
        events = self._own(core)
        if offset in (WAIT, WAIT_CLEAR):
            events.clears = offset == WAIT_CLEAR
        elif self.is_wait(offset):
            barrier, register = self._barrier(offset)
            events.clears = register == BARRIER_WAIT_CLEAR
            barrier.status |= 1 << core
            self._check(barrier)
        else:
            raise VerifyError(f"waits by reading register {offset:#x} of the event unit, which is no wait register")

    def end_wait(self, core: int) -> int | None:
        """The masked events, if there are any; the wait is over then."""
        events = self._own(core)
        arrived = events.buffer & events.mask
        if not arrived:
            return None
        if events.clears:
            events.buffer &= ~events.mask
        return arrived

    def describe_wait(self, core: int, offset: int) -> str:
        """What a core waits for, for messages."""
        if offset >= BARRIERS:
            barrier, _ = self._barrier(offset)
            number = (offset - BARRIERS) // BARRIER_BYTES
            return f"barrier {number}, reached by cores {barrier.status:#x} of {barrier.mask:#x}"
        return f"events {self._own(core).mask:#x}"

    # ---- Barriers ----

    def _own(self, core: int) -> _CoreEvents:
        if core == CONTROLLER:
            raise VerifyError("uses the event unit's core registers, which only cluster cores reach")
        return self._cores[core]

    def _barrier(self, offset: int) -> tuple[_Barrier, int]:
        number, register = divmod(offset - BARRIERS, BARRIER_BYTES)
        if number >= BARRIER_COUNT:
            raise VerifyError(f"uses hardware barrier {number} of {BARRIER_COUNT}")
        return self._barriers[number], register

    def _write_barrier(self, core: int, offset: int, value: int) -> None:
        barrier, register = self._barrier(offset)
        if register == BARRIER_MASK:
            barrier.mask = value
        elif register == BARRIER_TARGET:
            barrier.target = value
        elif register == BARRIER_STATUS:
            barrier.status = value
        elif register == BARRIER_TRIGGER:
            barrier.status |= value
        elif register == BARRIER_SELF:
            barrier.status |= 1 << core
        else:
            raise no_register(self, offset, "writes")
        self._check(barrier)

    def _check(self, barrier: _Barrier) -> None:
        if barrier.status == barrier.mask:  # also of a barrier without cores: 0 == 0, as the hardware's model has it
            barrier.status = 0
            self.trigger(BARRIER_EVENT, barrier.target)
