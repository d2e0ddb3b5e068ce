"""Cores start, share work, meet at barriers and talk to the outside, in any order of turns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from board_programs import build

from edgec.errors import VerifyError
from edgec.verify.board import Board

ORDERS = {
    "ascending": list(range(8)),
    "descending": list(range(7, -1, -1)),
    "mixed": [3, 0, 6, 1, 7, 2, 5, 4],
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Builds a program once."""
    built: dict[tuple[object, ...], Path] = {}

    def program(*sources: str, **options: object) -> Path:
        key = (*sources, *sorted(options.items()))
        if key not in built:
            built[key] = build(tmp_path_factory.mktemp("program"), *sources, **options)  # type: ignore[arg-type]
        return built[key]

    return program


@pytest.mark.parametrize("floats", ["zfinx", "f"])
@pytest.mark.parametrize("order", ORDERS)
def test_eight_cores_share_a_dot_product(programs: Callable[..., Path], order: str, floats: str) -> None:
    board = Board(programs("cores.c", floats=floats), order=ORDERS[order])
    steps: list[int] = []
    board.on_step = steps.append
    board.run(10)
    assert board.exit_code == 7  # cores.c compares with plain C
    assert np.frombuffer(bytes(board.output), "<u4").tolist() == ORDERS[order]
    assert steps == [0, 1]


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_fewer_cores(programs: Callable[..., Path], cores: int) -> None:
    board = Board(programs("cores.c", cores=cores), cores)
    board.run(10)
    assert board.exit_code == 7


def test_a_core_that_is_not_let_go_is_a_deadlock(programs: Callable[..., Path]) -> None:
    board = Board(programs("cores.c", cores=8), 2)
    with pytest.raises(VerifyError, match="the controller writes register 0x48 of the cluster control"):
        board.run(10)


def test_counting_changes_nothing_but_the_counts(programs: Callable[..., Path]) -> None:
    boards = [Board(programs("cores.c"), count=count) for count in (False, True)]
    for board in boards:
        board.run(10)
    assert boards[0].output == boards[1].output
    assert boards[0].instructions == [0] * 8
    counts = boards[1].instructions
    assert all(1000 < count < 5000 for count in counts[1:])
    assert counts[0] > 20000  # it also checks the others' work
    assert [step for step, _ in boards[1].step_counts] == [0, 1]
    assert boards[1].step_counts[1][1][1:] == counts[1:]


def test_stacks_are_measured_where_symbols_name_them(programs: Callable[..., Path]) -> None:
    board = Board(programs("cores.c"))
    assert board.stack_high_water() == [0, 0, *[None] * 6]
    board.run(10)
    main, worker, *others = board.stack_high_water()
    assert main is not None and worker is not None and 16 <= worker < main < 256
    assert others == [None] * 6


def test_the_mailbox_pauses_the_board_until_there_is_input(programs: Callable[..., Path]) -> None:
    board = Board(programs("mail.c", cores=2), 2)
    traced: list[tuple[int, bytes]] = []
    board.on_trace = lambda number, data: traced.append((number, data))
    board.run(10)
    assert (board.output, board.printed, board.exit_code) == (b"", "", None)
    board.input += bytes([1, 2, 3, 4, 5])
    board.run(10)
    assert board.output == bytes([2, 3, 4, 5, 6])
    assert board.printed == "<c<d<e<f<g"
    assert traced == [(1000 + value, bytes([value])) for value in (1, 2, 3, 4, 5)]
    del board.output[:]
    board.input += bytes([9, 255])
    board.run(10)
    assert (board.output, board.exit_code) == (bytes([10]), 3)
    board.run(10)  # harmless when it has ended


JUMPS = """
    .globl core_main, hal_step, hal_siracusa_idle
    .option norvc
core_main:
    li a0, 77
    .insn r 0x33, 0, 0x21, a1, a1, a1
    la ra, 1f
    j hal_step
1:  .insn r 0x33, 0, 0x21, a1, a1, a1
    la a2, edgec_mailbox
    sw zero, 0(a2)
    la ra, 1b
    j hal_siracusa_idle
hal_step:
    .insn r 0x33, 0, 0x21, a1, a1, a1
    ret
"""


def test_stops_are_noticed_where_translated_code_jumps_to_them(tmp_path: Path) -> None:
    (tmp_path / "jumps.S").write_text(JUMPS)
    board = Board(build(tmp_path, str(tmp_path / "jumps.S"), cores=1), 1)
    steps: list[int] = []
    board.on_step = steps.append
    board.run(5)  # no operation in the mailbox: pauses
    assert steps == [77]
    board.run(5)
    assert (steps, board.exit_code) == ([77], None)


FAILING_TRACE = "void core_main(uint32_t core) { (void)core; uint32_t x = 0; mail(4, &x, 4, 9); }"


def test_an_error_of_the_listener_is_its_own(programs: Callable[..., Path]) -> None:
    board = Board(programs(text=FAILING_TRACE, cores=1), 1)

    def refuse(_number: int, _data: bytes) -> None:
        raise KeyError("mine")

    board.on_trace = refuse
    with pytest.raises(KeyError, match="mine"):
        board.run(10)


def test_an_error_in_a_step_is_its_own(programs: Callable[..., Path]) -> None:
    board = Board(programs("cores.c"))

    def refuse(_step: int) -> None:
        raise KeyError("mine")

    board.on_step = refuse
    with pytest.raises(KeyError, match="mine"):
        board.run(10)


MAILS = {
    "mail(9, 0, 0, 0);": "core 0 asks the mailbox for operation 9, which it does not have in cluster_start",
    "mail(2, (void *)0x1003fffe, 4, 0);": "core 0 reads after the end of L1 .addresses 0x1003fffe to 0x10040001",
}


@pytest.mark.parametrize("body", MAILS)
def test_mail_that_is_refused(tmp_path: Path, body: str) -> None:
    board = Board(build(tmp_path, text=f"void core_main(uint32_t core) {{ (void)core; {body} }}", cores=1), 1)
    with pytest.raises(VerifyError, match=MAILS[body]):
        board.run(10)


SPIN = """
L1 volatile uint32_t flag;
void core_main(uint32_t core) {
    if (core == 0) {
        flag = 0;
        while (flag == 0) {
        }
        leave(flag);
    }
    flag = 5;
}
"""


def test_a_core_may_spin_on_memory(programs: Callable[..., Path]) -> None:
    board = Board(programs(text=SPIN, cores=2), 2)
    board.run(20)
    assert board.exit_code == 5


TIMER = """
void core_main(uint32_t core) {
    (void)core;
    REGISTER(0x10200400) = 3;
    const uint32_t before = REGISTER(0x10200408);
    for (volatile int i = 0; i < 100; i = i + 1) {
    }
    const uint32_t after = REGISTER(0x10200408);
    leave(after > before ? after - before : 0);
}
"""


def test_the_timer_grows(programs: Callable[..., Path]) -> None:
    for count, expected in ((False, range(1, 2)), (True, range(400, 1500))):
        board = Board(programs(text=TIMER, cores=1), 1, count=count)
        board.run(10)
        assert board.exit_code in expected


def test_floats_have_numpys_bits_in_both_kinds_of_registers(programs: Callable[..., Path]) -> None:
    chance = np.random.default_rng(1)
    normal = chance.standard_normal((200, 3)).astype("<f4") * np.exp(chance.normal(0, 8, (200, 3))).astype("<f4")
    special = np.array([0, 0x80000000, 1, 0x007FFFFF, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x3F800000], "<u4")
    inputs = np.concatenate([normal.view("<u4"), chance.choice(special, (200, 3))])
    found = {}
    for floats in ("zfinx", "f"):
        board = Board(programs("floats.c", cores=1, floats=floats), 1)
        board.input += inputs.tobytes()
        board.run(10)
        found[floats] = np.frombuffer(bytes(board.output), "<u4").reshape(len(inputs), -1)
    np.testing.assert_array_equal(found["zfinx"], found["f"])
    a, b, c = (column.copy() for column in inputs.view("<f4").T)
    with np.errstate(all="ignore"):
        fused = (a.astype(np.float64) * b + c).astype("<f4")  # rounds twice, but hardly ever differently
        columns = [a + b, a - b, a * b, a / b, np.sqrt(np.abs(a)), fused, -fused, np.copysign(a, b), -a]
        numbers = np.stack(columns, 1)
    same = numbers.view("<u4") == found["f"][:, :9]
    results = found["f"][:, :9].copy().view("<f4")
    same |= np.isnan(numbers) & np.isnan(results)
    same[:, 6] |= results[:, 6] == 0  # -(a * b) - c has another zero than -(a * b + c)
    assert same.mean(0)[5:7].min() > 0.99
    assert same[:, [0, 1, 2, 3, 4, 7, 8]].all()
    np.testing.assert_array_equal(found["f"][:, 9:12], np.stack([a < b, a <= b, a == b], 1))
    np.testing.assert_array_equal(found["f"][:, 12], inputs[:, 0].view("<i4").astype("<f4").view("<u4"))
    np.testing.assert_array_equal(found["f"][:, 13], inputs[:, 0].astype("<f4").view("<u4"))


DOT = """
static uint32_t words[2][4096];
static int32_t plain(uint32_t x, uint32_t y) {
    int32_t sum = 0;
    for (int i = 0; i < 4; i++) {
        sum += (int32_t)(int8_t)(x >> 8 * i) * (int32_t)(int8_t)(y >> 8 * i);
    }
    return sum;
}
void core_main(uint32_t core) {
    (void)core;
    mail(1, words, sizeof words, 0);
    uint32_t fast = 17, slow = 17, wrong = 0;
    for (uint32_t i = 0; i < 4096; i++) {
        fast = sdotsp(fast, words[0][i], words[1][i]);
        slow += (uint32_t)plain(words[0][i], words[1][i]);
        wrong += fast != slow;
    }
    mail(2, &fast, 4, 0);
    leave(wrong);
}
"""


def test_dot_products_of_random_words_are_those_of_plain_c(programs: Callable[..., Path]) -> None:
    words = np.random.default_rng(2).integers(-128, 128, (2, 4096 * 4), np.int8)
    board = Board(programs(text=DOT, cores=1), 1)
    board.input += words.tobytes()
    board.run(10)
    assert board.exit_code == 0
    assert int.from_bytes(board.output, "little") == (17 + int((words[0].astype(int) * words[1]).sum())) & 0xFFFFFFFF


COUNTER = """
L1 volatile uint32_t counts[CORES];
__attribute__((noinline)) static void meanwhile(void) { __asm__ volatile("" ::: "memory"); }
void core_main(uint32_t core) {
    if (core == 0) barrier_open();
    listen(1u << 16);
    for (uint32_t i = 0; i < 200u; i++) {
        const uint32_t seen = counts[core * APART];
        meanwhile(); /* turns end between blocks of instructions */
        counts[core * APART] = seen + 1u;
    }
    barrier();
    if (core == 0) {
        uint32_t total = 0;
        for (uint32_t i = 0; i < CORES; i++) total += counts[i];
        leave(total == CORES * 200u ? 7u : 1u);
    }
}
"""


@pytest.mark.parametrize("shuffle", [None, 1, 2])
@pytest.mark.parametrize("apart", [1, 0])
def test_short_turns_show_a_race(tmp_path: Path, apart: int, shuffle: int | None) -> None:
    """Cores that add to one counter without a lock lose counts, if they meet."""
    board = Board(build(tmp_path, text=f"#define APART {apart}\n{COUNTER}"), shuffle=shuffle)
    board.run(10)
    assert board.exit_code == (7 if apart or shuffle is None else 1)
