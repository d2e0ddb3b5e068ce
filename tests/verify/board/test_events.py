"""Event unit and N-EUREKA plug, register by register."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgec.errors import VerifyError
from edgec.verify.board import event_unit, neureka
from edgec.verify.board.bus import CONTROLLER
from edgec.verify.board.event_unit import BARRIER_EVENT, BARRIERS, NEUREKA_EVENT, EventUnit
from edgec.verify.board.memory import L1, PAGE, Memories

WAIT_AT_BARRIER = BARRIERS + event_unit.BARRIER_WAIT_CLEAR


def open_barrier(events: EventUnit, cores: int, number: int = 0) -> None:
    base = BARRIERS + number * event_unit.BARRIER_BYTES
    events.write(0, base + event_unit.BARRIER_MASK, cores)
    events.write(0, base + event_unit.BARRIER_TARGET, cores)


def test_masks_and_buffers_are_each_cores_own() -> None:
    events = EventUnit(2)
    events.write(0, event_unit.MASK, 0b1100)
    events.write(0, event_unit.MASK_OR, 0b0011)
    events.write(0, event_unit.MASK_AND, 0b0100)
    assert [events.read(core, event_unit.MASK) for core in range(2)] == [0b1011, 0]
    events.write(0, event_unit.TRIGGER + 4 * 3, 0b01)  # software event 3 to core 0
    events.write(0, event_unit.TRIGGER + 4 * 2, 0)  # software event 2 to all
    assert [events.read(core, event_unit.BUFFER) for core in range(2)] == [0b1100, 0b0100]
    assert [events.read(core, event_unit.BUFFER_MASKED) for core in range(2)] == [0b1000, 0]
    events.write(0, event_unit.BUFFER_CLEAR, 0b1000)
    assert events.read(0, event_unit.BUFFER) == 0b0100


def test_a_wait_ends_with_a_masked_event() -> None:
    events = EventUnit(1)
    events.write(0, event_unit.MASK, 0b10)
    events.begin_wait(0, event_unit.WAIT)
    events.trigger(0)
    assert events.end_wait(0) is None
    events.trigger(1)
    assert events.end_wait(0) == 0b10
    assert events.end_wait(0) == 0b10  # still buffered
    events.begin_wait(0, event_unit.WAIT_CLEAR)
    assert events.end_wait(0) == 0b10
    assert events.end_wait(0) is None
    assert events.read(0, event_unit.BUFFER) == 0b01


def test_a_barrier_opens_for_its_targets_when_all_have_come() -> None:
    events = EventUnit(3)
    open_barrier(events, 0b111, number=1)
    for core in range(3):
        events.write(core, event_unit.MASK, 1 << BARRIER_EVENT)
    wait = WAIT_AT_BARRIER + event_unit.BARRIER_BYTES
    for core in (2, 0):
        events.begin_wait(core, wait)
        assert events.end_wait(core) is None
    assert "barrier 1, reached by cores 0x5 of 0x7" in events.describe_wait(0, wait)
    events.begin_wait(1, wait)
    assert [events.end_wait(core) for core in range(3)] == [1 << BARRIER_EVENT] * 3
    assert events.read(0, BARRIERS + event_unit.BARRIER_BYTES + event_unit.BARRIER_STATUS) == 0


def test_a_core_can_arrive_without_waiting() -> None:
    events = EventUnit(2)
    open_barrier(events, 0b11)
    events.write(0, event_unit.MASK, 1 << BARRIER_EVENT)
    events.write(0, event_unit.BUFFER_CLEAR, 0xFFFFFFFF)
    events.write(1, BARRIERS + event_unit.BARRIER_SELF, 0)
    events.begin_wait(0, WAIT_AT_BARRIER)
    assert events.end_wait(0) == 1 << BARRIER_EVENT


@pytest.mark.parametrize(
    ("action", "why"),
    [
        (lambda e: e.read(0, event_unit.WAIT), "waits by a load that is not p.elw"),
        (lambda e: e.read(0, 0x18), "reads register 0x18 of the event unit"),
        (lambda e: e.write(0, event_unit.BUFFER, 1), "writes register 0x1c of the event unit"),
        (lambda e: e.begin_wait(0, 0xC0), "which is no wait register"),
        (lambda e: e.read(CONTROLLER, event_unit.MASK), "which only cluster cores reach"),
        (lambda e: e.write(0, BARRIERS + 9 * 0x20, 1), "uses hardware barrier 9 of 9"),
    ],
)
def test_uses_that_are_refused(action: Callable[[EventUnit], object], why: str) -> None:
    with pytest.raises(VerifyError, match=why):
        action(EventUnit(1))


# ---- N-EUREKA ----


class Jobs:
    """A plug whose jobs copy a byte from the address in register 0 to the one in register 1, and are written down."""

    def __init__(self, late: bool) -> None:
        self.memories = Memories({L1: PAGE, "MRAM": 0, "TILE": 0, "L2": 0})
        self.events = EventUnit(2)
        self.done: list[list[int]] = []
        self.device = neureka.NeurekaDevice(self.memories, self.events, late, self.execute)

    def execute(
        self, registers: list[int], read: Callable[[int, int], bytes], write: Callable[[int, bytes], None]
    ) -> None:
        self.done.append(registers)
        write(registers[1], read(registers[0], 1))

    def start(self, *first: int, trigger: int = 0) -> int:
        number = self.device.read(0, neureka.ACQUIRE)
        for i in range(neureka.REGISTERS):
            self.device.write(0, neureka.JOB + 4 * i, first[i] if i < len(first) else i)
        self.device.write(0, neureka.TRIGGER, trigger)
        return number


def test_a_job_is_executed_with_its_registers_and_ends_with_an_event() -> None:
    jobs = Jobs(late=False)
    jobs.memories.write(0x10000000, b"\x42")
    assert jobs.start(0x10000000, 0x10000100) == 0
    assert jobs.done == [[0x10000000, 0x10000100, *range(2, 24)]]
    assert jobs.memories.read(0x10000100, 1) == b"\x42"
    assert [jobs.events.read(core, event_unit.BUFFER) for core in range(2)] == [1 << NEUREKA_EVENT] * 2
    assert jobs.device.read(0, neureka.STATUS) == 0
    assert jobs.start(0x10000000, 0x10000101) == 1
    assert jobs.device.read(0, neureka.FINISHED) == 2


def test_late_jobs_wait_for_everybody_to_wait() -> None:
    jobs = Jobs(late=True)
    jobs.start(0x10000000, 0x10000100)
    jobs.start(0x10000100, 0x10000200)
    assert jobs.device.read(0, neureka.ACQUIRE) == neureka.NO_CONTEXT  # both contexts are in use
    assert jobs.device.read(0, neureka.STATUS) == 0x101
    assert not jobs.done
    assert jobs.device.finish_oldest()
    assert jobs.device.read(0, neureka.STATUS) == 0x100
    assert jobs.device.read(0, neureka.ACQUIRE) == 2
    assert len(jobs.done) == 1


def test_late_jobs_are_done_for_a_core_that_polls() -> None:
    jobs = Jobs(late=True)
    jobs.start(0x10000000, 0x10000100)
    assert any(jobs.device.read(0, neureka.STATUS) == 0 for _ in range(100))


def test_contexts_keep_their_registers() -> None:
    jobs = Jobs(late=False)
    jobs.start(0x10000000, 0x10000100)
    jobs.start(0x10000200, 0x10000300)
    jobs.device.read(0, neureka.ACQUIRE)
    jobs.device.write(0, neureka.JOB, 0x10000004)
    jobs.device.write(0, neureka.TRIGGER, 0)
    assert jobs.done[2] == [0x10000004, 0x10000100, *range(2, 24)]


def test_jobs_can_be_committed_before_they_are_triggered() -> None:
    jobs = Jobs(late=False)
    jobs.start(0x10000000, 0x10000100, trigger=1)
    assert not jobs.done
    assert jobs.device.read(0, neureka.STATUS) == 1
    jobs.start(0x10000000, 0x10000200)
    assert len(jobs.done) == 2


def test_jobs_that_are_refused() -> None:
    device = Jobs(late=False).device
    with pytest.raises(VerifyError, match="writes job register 3 of N-EUREKA without an acquired context"):
        device.write(0, neureka.JOB + 12, 1)
    with pytest.raises(VerifyError, match="triggers N-EUREKA without an acquired context"):
        device.write(0, neureka.TRIGGER, 0)
    assert device.read(0, neureka.ACQUIRE) == 0
    with pytest.raises(VerifyError, match="while it holds one that it has not triggered"):
        device.read(0, neureka.ACQUIRE)
    with pytest.raises(VerifyError, match="without writing its register 0"):
        device.write(0, neureka.TRIGGER, 0)
    device.write(0, neureka.SOFT_CLEAR, 0)
    assert device.read(0, neureka.ACQUIRE) == 1
