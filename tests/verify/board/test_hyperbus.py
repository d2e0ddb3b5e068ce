"""HyperBus moves the right bytes, at once or late; it refuses what it cannot do, and its driver does not ask for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from board_programs import build

from edgec.errors import VerifyError
from edgec.verify.board import Board, hyperbus
from edgec.verify.board.hyperbus import ADDRESS, CLOCK, COMMAND, QUEUE, READ, START, STATUS, WRITE, HyperBus
from edgec.verify.board.memory import L2, L3_BASE, PAGE, Memories

NEAR = 0x1C000000
RAM_BYTES = 512


def flash() -> bytes:
    """As hyperbus.c expects it."""
    return bytes((i * 2654435761 & 0xFFFFFFFF) >> 13 & 0xFF for i in range(2048 + 3001))


@pytest.mark.parametrize("late", [False, True])
def test_the_driver_copies_all_alignments(tmp_path: Path, late: bool) -> None:
    board = Board(build(tmp_path, "hyperbus.c", cores=1), 1, late_dma=late, flash=flash())
    board.run(60)
    assert board.exit_code == 0
    assert len(board.output) == 8192 and board.read(L3_BASE, 8192) == bytes(board.output)
    assert board.hyperbus_bytes > 100_000


EARLY = """
#include "freestanding.h"
#include "hyperbus.h"
static volatile uint8_t near[64] __attribute__((aligned(4)));
void core_main(uint32_t core) {
    (void)core;
    hyper_init();
    near[0] = 1;
    hyper_copy((uint32_t)near, CHIP_L3, 64);
    const uint32_t early = near[0];
    hyper_wait();
    leave(early << 8 | near[0]);
}
"""


def test_a_program_that_reads_too_early_finds_old_bytes(tmp_path: Path) -> None:
    elf = build(tmp_path, text=EARLY, cores=1)
    for late, early in ((False, 0xA5), (True, 1)):
        board = Board(elf, 1, late_dma=late)
        board.run(10)
        assert board.exit_code == early << 8 | 0xA5


def test_a_cluster_dma_of_an_address_in_l3_is_refused(tmp_path: Path) -> None:
    body = "(void)core; dma(4 | INCREMENT, near, (void *)0x80000000);"
    text = f"L1 uint8_t near[4]; void core_main(uint32_t core) {{ {body} }}"
    with pytest.raises(VerifyError, match=r"starts a DMA transfer outside all memories \(addresses 0x80000000"):
        Board(build(tmp_path, text=text, cores=1), 1).run(10)


def test_a_load_from_l3_is_refused(tmp_path: Path) -> None:
    text = "void core_main(uint32_t core) { (void)core; leave(*(volatile uint32_t *)0x80000000); }"
    with pytest.raises(VerifyError, match="0x80000000"):
        Board(build(tmp_path, text=text, cores=1), 1).run(10)


class Setup:
    """A HyperBus at a page of L2, with a little RAM and flash."""

    def __init__(self, late: bool = True, clock: int = CLOCK, **registers: int) -> None:
        self.memories = Memories(dict.fromkeys(("L1", "MRAM", "TILE"), 0) | {L2: PAGE})
        self.bus = HyperBus(self.memories, late, RAM_BYTES, bytes(range(250)) * 10)
        self.bus.clocks.write(0, 0, clock)
        common = {"PAGE_BOUND": 3, "LATENCY": 6, "TWICE": 1, "SELECT": 0} | registers
        for name, value in common.items():
            self.bus.write(0, getattr(hyperbus, name), value)

    def start(
        self, direction: int, near: int, far: int, size: int, command: int | None = None, start: int = START
    ) -> None:
        self.bus.write(0, COMMAND, {READ: 5, WRITE: 1}[direction] if command is None else command)
        self.bus.write(0, ADDRESS, far)
        self.bus.write(0, direction, near)
        self.bus.write(0, direction + 4, size)
        self.bus.write(0, direction + 8, start)


def test_transfers_happen_in_order_while_the_status_is_read() -> None:
    setup = Setup()
    setup.memories.write(NEAR, b"abcd")
    setup.start(WRITE, NEAR, 8, 4)
    setup.start(READ, NEAR + 4, 8, 4)
    assert setup.bus.read(0, STATUS) == 2 << 1 | 1
    assert setup.bus.ram(8, 4) == b"\xa5" * 4
    assert setup.bus.read(0, STATUS) == 2 << 1 | 1
    assert setup.bus.ram(8, 4) == b"abcd" and setup.memories.read(NEAR + 4, 4) == b"\xa5" * 4
    assert setup.bus.read(0, STATUS) == 1 << 1 | 1
    assert setup.memories.read(NEAR, 8) == b"abcdabcd"
    assert setup.bus.read(0, STATUS) == 0
    assert not setup.bus.finish_oldest()
    assert (setup.bus.transfers, setup.bus.bytes) == (2, 8)


def test_without_late_they_happen_at_once() -> None:
    setup = Setup(late=False)
    setup.memories.write(NEAR, b"abcd")
    setup.start(WRITE, NEAR, 506, 4)
    assert setup.bus.ram(506, 4) == b"abcd" and setup.bus.read(0, STATUS) == 0
    assert setup.bus.read(0, ADDRESS) == 506


def test_flash_is_read_within_a_page() -> None:
    setup = Setup(late=False, SELECT=1)
    setup.start(READ, NEAR, 1024, 16)
    assert setup.memories.read(NEAR, 16) == bytes((1024 + i) % 250 for i in range(16))
    with pytest.raises(VerifyError, match=r"across a page of 1024 B \(0x7fc\)"):
        setup.start(READ, NEAR, 2044, 8)
    Setup(late=False, SELECT=1, PAGE_BOUND=4).start(READ, NEAR, 2044, 8)


REFUSED = [
    ((READ, NEAR, 0, 0), "a HyperBus read of 0 B: 1 to 1048575 can be"),
    ((WRITE, NEAR, 0, 1 << 20), "a HyperBus write of 1048576 B"),
    ((READ, NEAR + 2, 0, 8), "not of whole words .8 B, L2 address 0x1c000002, outer address 0x0"),
    ((READ, NEAR, 3, 8), "not of whole words"),
    ((WRITE, NEAR, 0, 6), "not of whole words"),
    ((READ, 0x10000000, 0, 8), "of 8 B at 0x10000000, not inside L2"),
    ((READ, NEAR + PAGE - 4, 0, 8), "at 0x1c000ffc, not inside L2"),
    ((READ, NEAR, 508, 8), "a HyperBus read of 8 B at 0x1fc of HyperRAM, which has 512 B"),
    ((WRITE, NEAR, 0x80000000, 4), "a HyperBus write of 4 B at 0x80000000 of HyperRAM"),
    ((READ, NEAR, 0, 4, 4), "a HyperBus read with command 4, not 5"),
    ((WRITE, NEAR, 0, 4, 5), "a HyperBus write with command 5, not 1"),
    ((READ, NEAR, 0, 4, 5, 0x10), "with configuration 0x10, not 0x14"),
]


@pytest.mark.parametrize(("words", "why"), REFUSED)
def test_transfers_that_are_refused_when_started(words: tuple[int, ...], why: str) -> None:
    with pytest.raises(VerifyError, match=why):
        Setup().start(*words)


def test_a_full_queue_takes_no_more() -> None:
    setup = Setup()
    for _ in range(QUEUE):
        setup.start(READ, NEAR, 0, 4)
    with pytest.raises(VerifyError, match="a HyperBus read while 8 are outstanding"):
        setup.start(READ, NEAR, 0, 4)


@pytest.mark.parametrize(
    ("setting", "words", "why"),
    [
        ({"SELECT": 1}, (WRITE, NEAR, 0, 4), "a HyperBus write into HyperFlash"),
        ({"SELECT": 1}, (READ, NEAR, 2500, 4), "at 0x9c4 of HyperFlash, which has 2500 B"),
        ({"SELECT": 2}, (READ, NEAR, 0, 4), "of device 2, which is not there"),
    ],
)
def test_devices_are_told_apart(setting: dict[str, int], words: tuple[int, ...], why: str) -> None:
    with pytest.raises(VerifyError, match=why):
        Setup(**setting).start(*words)


def test_registers_that_must_be_set_first() -> None:
    with pytest.raises(VerifyError, match="writes a register of the HyperBus, whose clock is off"):
        Setup(clock=~CLOCK)
    setup = Setup()
    assert setup.bus.clocks.read(0, 0) == CLOCK
    bus = HyperBus(setup.memories, True, RAM_BYTES, b"")
    bus.clocks.write(0, 0, CLOCK)
    setup.bus = bus
    with pytest.raises(VerifyError, match="a HyperBus read without writing register 0x100"):
        setup.start(READ, NEAR, 0, 4)
    with pytest.raises(VerifyError, match="a HyperBus write without writing register 0xc"):
        bus.write(0, WRITE + 8, START)


def test_registers_that_cannot_be_used() -> None:
    setup = Setup()
    setup.start(READ, NEAR, 0, 4)
    with pytest.raises(VerifyError, match="writes register 0x120 of the HyperBus while a transfer is under way"):
        setup.bus.write(0, hyperbus.SELECT, 1)
    for offset in (0x80, 0x28, STATUS):  # the second channel, two-dimensional transfers
        with pytest.raises(VerifyError, match=f"writes register {offset:#x} of the HyperBus"):
            setup.bus.write(0, offset, 0)
    with pytest.raises(VerifyError, match="reads register 0x28 of the HyperBus"):
        setup.bus.read(0, 0x28)
    with pytest.raises(VerifyError, match="8 B at 0x1fc are not in the 512 B of HyperRAM"):
        setup.bus.ram(508, 8)
