"""The DMA moves the bytes that it should, at once or as late as it may."""

from __future__ import annotations

from pathlib import Path

import pytest
from board_programs import build

from edgec.errors import VerifyError
from edgec.verify.board import Board
from edgec.verify.board.event_unit import DMA_EVENT, WAIT_CLEAR, EventUnit
from edgec.verify.board.mchan import (
    BROADCAST,
    EVENT,
    INCREMENT,
    INTO_L1,
    QUEUE,
    STATUS,
    TWO_D,
    Mchan,
)
from edgec.verify.board.memory import L1, L2, PAGE, Memories

INNER, OUTER = 0x10000000, 0x1C000000


@pytest.mark.parametrize("late", [False, True])
def test_a_program_that_waits_gets_all_bytes(tmp_path: Path, late: bool) -> None:
    board = Board(build(tmp_path, "transfers.c", cores=1), 1, late_dma=late)
    board.run(10)
    assert board.exit_code == 0
    assert board.dma_bytes == 1000 + 4096 + 4096 + 500 + 500 + 128


EARLY = """
L1 uint8_t near[64];
static const uint8_t other[64] = {55};
void core_main(uint32_t core) {
    (void)core;
    near[0] = 1;
    const uint32_t id = dma(64 | INCREMENT | INTO_L1, near, (void *)(uintptr_t)other);
    const uint32_t early = *(volatile uint8_t *)near;
    dma_wait(id);
    leave(early << 8 | *(volatile uint8_t *)near);
}
"""


def test_a_program_that_reads_too_early_finds_old_bytes(tmp_path: Path) -> None:
    elf = build(tmp_path, text=EARLY, cores=1)
    for late, early in ((False, 55), (True, 1)):
        board = Board(elf, 1, late_dma=late)
        board.run(10)
        assert board.exit_code == early << 8 | 55


class Setup:
    """A DMA between two pages of L1 and two of L2, for two cores."""

    def __init__(self, late: bool = True) -> None:
        sizes = dict.fromkeys(("MRAM", "TILE"), 0) | {L1: 2 * PAGE, L2: 2 * PAGE}
        self.memories = Memories(sizes)
        self.events = EventUnit(2)
        self.dma = Mchan(2, self.memories, self.events, late)

    def start(self, core: int, *words: int) -> int:
        number = self.dma.read(core, QUEUE)
        for word in words:
            self.dma.write(core, QUEUE, word)
        return number


def test_late_transfers_happen_when_their_core_asks() -> None:
    setup = Setup()
    setup.memories.write(OUTER, b"abcd")
    first = setup.start(0, 2 | INTO_L1 | INCREMENT, INNER, OUTER)
    second = setup.start(1, 2 | INTO_L1 | INCREMENT, INNER + 2, OUTER + 2)
    assert (first, second) == (0, 1)
    assert setup.dma.read(1, STATUS) == 0b11 << 16 | 0b01  # its own is done, the other core's is not
    assert setup.memories.read(INNER, 4) == b"\xa5\xa5cd"
    with pytest.raises(VerifyError, match="frees transfer id 0, which is still busy"):
        setup.dma.write(0, STATUS, 1)
    assert setup.dma.finish_oldest()
    assert not setup.dma.finish_oldest()
    assert setup.memories.read(INNER, 4) == b"abcd"
    setup.dma.write(0, STATUS, 0b11)
    assert setup.dma.read(0, STATUS) == 0


def test_a_core_that_polls_for_another_ones_transfer_gets_it() -> None:
    setup = Setup()
    setup.start(0, 2 | INTO_L1 | INCREMENT, INNER, OUTER)
    assert any(setup.dma.read(1, STATUS) == 1 << 16 for _ in range(100))


def test_the_event_comes_with_the_last_transfer_of_an_id() -> None:
    setup = Setup()
    command = 2 | INTO_L1 | INCREMENT | EVENT
    setup.start(1, command, INNER, OUTER, command | BROADCAST, INNER, OUTER)
    for core in range(2):
        setup.events.write(core, 0x08, 1 << DMA_EVENT)
        setup.events.begin_wait(core, WAIT_CLEAR)
    setup.dma.finish_oldest()
    assert [setup.events.end_wait(core) for core in range(2)] == [None, None]
    setup.dma.finish_oldest()
    assert [setup.events.end_wait(core) for core in range(2)] == [1 << DMA_EVENT] * 2
    assert [setup.events.end_wait(core) for core in range(2)] == [None, None]


REFUSED = [
    ([131_072 | INCREMENT], "of 0 or more than 131071 B"),
    ([4 | INTO_L1], "does not increment"),
    ([4 | INCREMENT | 1 << 23], "unknown bits in its command 0x840004"),
    ([4 | INCREMENT | INTO_L1, OUTER, OUTER], "of 4 B at 0x1c000000, not inside L1 at 0x10000000"),
    ([4 | INCREMENT | INTO_L1, INNER + 2 * PAGE - 2, OUTER], "of 4 B at 0x10001ffe, not inside L1"),
    ([4 | INCREMENT | INTO_L1, INNER, OUTER + 2 * PAGE - 2], "after the end of L2 .addresses 0x1c001ffe to 0x1c002001"),
    ([4 | INCREMENT | INTO_L1, INNER, 0x50000000], "outside all memories"),
    ([8 | INCREMENT | TWO_D, INNER, OUTER, 4, 2 * PAGE], "after the end of L2"),
    ([8 | INCREMENT | TWO_D, INNER, OUTER, 3, 16], "of 8 B in lines of 3 B"),
]


@pytest.mark.parametrize(("words", "why"), REFUSED)
def test_transfers_that_are_refused_when_started(words: list[int], why: str) -> None:
    with pytest.raises(VerifyError, match=why):
        Setup().start(0, *words)


def test_transfers_into_read_only_memory_are_refused() -> None:
    memories = Memories({L1: PAGE, "MRAM": PAGE, "TILE": 0, L2: 0})
    dma = Mchan(1, memories, EventUnit(1), late=False)
    dma.read(0, QUEUE)
    dma.write(0, QUEUE, 4 | INCREMENT)
    dma.write(0, QUEUE, INNER)
    with pytest.raises(VerifyError, match="into read-only MRAM"):
        dma.write(0, QUEUE, 0x10400000)


def test_ids_run_out() -> None:
    setup = Setup()
    assert [setup.dma.read(0, QUEUE) for _ in range(16)] == list(range(16))
    with pytest.raises(VerifyError, match="all 16 ids are in use"):
        setup.dma.read(0, QUEUE)
    setup.dma.write(0, STATUS, 1 << 5)
    assert setup.dma.read(0, QUEUE) == 5
