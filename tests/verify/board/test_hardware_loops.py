"""Hardware loops run their bodies as often as on the chip, and bodies that break the chip's rules are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from board_programs import build

from edgec.errors import VerifyError
from edgec.verify.board import Board

COUNTS = (1, 2, 7, 100)
SETUP = ".word ((9f - .) / 2 << 20) | (10 << 15) | (4 << 12) | 0x7b\n"


def parts(*values: int) -> int:
    """Passes of the parts that add 1, 16, 256 and 65536."""
    return sum(value << shift for value, shift in zip(values, (0, 4, 8, 16), strict=False)) & 0xFFFFFFFF


@pytest.mark.parametrize("floats", ["zfinx", "f"])
def test_bodies_run_as_often_as_counted(tmp_path: Path, floats: str) -> None:
    board = Board(build(tmp_path, "loops.c", "loops.S", cores=1, floats=floats), 1)
    board.run(10)
    found = np.frombuffer(bytes(board.output), "<u4")
    rows = found[:-1].reshape(-1, 4)
    expected = [
        [parts(n, n, n) for n in COUNTS],
        [37] * 4,
        [parts(n, 5 * n, 5 * n, 1) for n in COUNTS],
        # the outer loop goes back from the end that the inner one leaves
        [parts(n, 0, 3 * n) for n in COUNTS],
        [parts(4 * n, 4 * n) for n in COUNTS],
        [parts(9, 9)] * 4,
        [parts(n + 2, n + 2) for n in COUNTS],
        [sum(value for value in range(-2, n - 2) if value % 2) & 0xFFFFFFFF for n in COUNTS],
        [4097 * (n + 1) for n in COUNTS],
        [parts(n, n, 1) for n in COUNTS],
    ]
    for number, (row, values) in enumerate(zip(rows, expected, strict=True)):
        assert row.tolist() == values, f"function {number} of loops.c"
    assert found[-1] == parts(1, 1, 1)  # count 0


COUNTED = """
    .globl core_main, hal_step
    .type core_main, @function
    .option norvc
core_main:
    li s0, 3
    call hal_step       # auipc, jalr, ret: 3 between two steps
    call hal_step
    .insn r 0x57, 1, 0x5C, a1, a1, a1
    .insn i 0x0b, 2, a1, 4(sp)
    call hal_step       # 3 + 2
    csrr a1, mhartid
1:  .insn r 0x33, 0, 0x21, a1, a1, a1
    addi s0, s0, -1
    bnez s0, 1b
    call hal_step       # 3 + 1 + 3 * 3
    li a0, 5
    .balign 4
    SETUP
    nop
    .insn r 0x33, 0, 0x21, a1, a1, a1
9:  .insn r 0x33, 0, 0x21, a1, a1, a1
    call hal_step       # 3 + 2 + 5 * 3
    .balign 4
    .word (4 << 20) | (3 << 12) | 0x7b                 # lp.counti
    .word ((8f - .) / 2 << 20) | (1 << 12) | 0x7b      # lp.endi
    .word ((7f - .) / 2 << 20) | 0x7b                  # lp.starti
7:  nop
    nop
8:  nop
    call hal_step       # 3 + 3 + 4 * 3
    li a0, 0x1A1040A0
    li a1, 1 << 31
    sw a1, 0(a0)
    wfi
    .type hal_step, @function
hal_step:
    ret
"""


@pytest.mark.parametrize("floats", ["zfinx", "f"])
def test_instructions_are_counted_as_the_chip_would(tmp_path: Path, floats: str) -> None:
    (tmp_path / "counted.S").write_text(COUNTED.replace("SETUP", SETUP))
    board = Board(build(tmp_path, str(tmp_path / "counted.S"), cores=1, floats=floats), 1, count=True)
    board.run(10)
    counts = [counts[0] for _, counts in board.step_counts]
    assert np.diff(counts).tolist() == [3, 5, 13, 20, 18]


BODY = {
    "compressed": (
        "addi a1, a1, 1\n.option rvc\nc.addi a1, 1\nc.addi a1, 1\n.option norvc\n9: addi a1, a1, 1",
        "norvc",
    ),
    "short": ("nop\n9: addi a1, a1, 1", "has a body of 2 instructions, fewer than 3"),
    "branch": ("beqz a1, 9f\nnop\n9: nop", "has a branch or jump at 0x1c01"),
    "jump at the end": ("nop\nnop\n9: ret", "has a branch or jump at 0x1c01"),
    "misaligned": (".option rvc\n.option norvc\nnop\nnop\nnop\n9: nop", "align it to 4 bytes"),
    "backward": ("nop\nnop\nnop\n", "which is no instruction behind its start"),
}


@pytest.mark.parametrize("name", BODY)
def test_bodies_that_are_refused(tmp_path: Path, name: str) -> None:
    body, why = BODY[name]
    setup = SETUP.replace("9f", ". - 8") if name == "backward" else SETUP
    before = ".balign 4\n" + (".option rvc\nc.nop\n.option norvc\n" if name == "misaligned" else "")
    code = f".globl loop\n.type loop, @function\n.option norvc\n{before}loop:\n{setup}{body}\nret\n"
    (tmp_path / "loop.S").write_text(code)
    elf = build(
        tmp_path,
        str(tmp_path / "loop.S"),
        cores=1,
        text="void loop(void); void core_main(uint32_t c) { (void)c; loop(); }",
    )
    with pytest.raises(VerifyError, match="the hardware loop 0 set up in loop") as raised:
        Board(elf, 1)
    assert why in str(raised.value)
