"""Whatever leaves a program's memories or the chip's rules ends in one sentence that says who, what and where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from board_programs import build

from edgec.errors import VerifyError
from edgec.verify.board import Board

HEAD = """
#define ASM(...) __asm__ volatile(__VA_ARGS__ ::: "memory", "a0", "a1", "a2")
L1 uint32_t near[4];
MRAM const uint32_t weights[4] = {1};
L1 volatile uint8_t chosen;
const uint32_t constants[4096] = {[4095] = 1};
__attribute__((noinline)) void victim(volatile uint32_t *p);
"""
MAIN = """
void core_main(uint32_t core) {
    if (core == 1) {
        victim((volatile uint32_t *)near);
    }
}
"""
CASES = {
    "read after L1": (
        "(void)*(p = (void *)0x10040000);",
        "core 1 read after the end of L1 (address 0x10040000) in victim",
    ),
    "write before L1": (
        "*(p = (void *)0x0FFFFFFC) = 1;",
        "core 1 wrote before the start of L1 (address 0x0ffffffc) in victim",
    ),
    "write nowhere": (
        "*(p = (void *)0x40000000) = 1;",
        "core 1 wrote outside all memories (address 0x40000000) in victim",
    ),
    "read null": ("(void)*(p = (void *)0);", "core 1 read outside all memories (address 0x00000000) in victim"),
    "write weights": (
        "*(volatile uint32_t *)weights = 1;",
        "core 1 wrote into read-only MRAM (address 0x10400000) in victim",
    ),
    "write code": ("*(p = (void *)0x1C010004) = 1;", "core 1 wrote into L2 (address 0x1c010004) in victim"),
    "across the end": (
        "*(volatile uint64_t *)(void *)0x1003FFFC = 1;",
        "core 1 wrote after the end of L1 (address 0x10040000) in victim",
    ),
    "jump": ("((void (*)(void))(uintptr_t)0x40000000)();", "core 1 jumped outside all memories (address 0x40000000)"),
    "jump into data": ("((void (*)(void))(uintptr_t)p)();", "core 1 jumped into L1 (address 0x10002"),
    "post-increment load": (
        'ASM("li a0, 0x1003fff8\\n1: .insn i 0x0b, 2, a1, 4(a0)\\n j 1b");',
        "core 1 read after the end of L1 (address 0x10040000) in victim",
    ),
    "illegal": ('ASM(".insn 0xffffffff");', "core 1 hit an illegal instruction 0xffffffff in victim"),
    "compressed illegal": ('ASM(".half 0");', "core 1 hit an illegal instruction 0x0000 in victim"),
    "unknown custom": (
        'ASM(".insn r 0x57, 2, 0x7f, a0, a1, a2");',
        "core 1 hit a custom instruction that the board does not know, 0xfec5a557 in victim",
    ),
    "performance counters": ('ASM("csrr a0, 0x780");', "core 1 hit an illegal instruction 0x78002573 in victim"),
    "ebreak": ('ASM("ebreak");', "core 1 hit a breakpoint in victim"),
    "ecall": ('ASM("ecall");', "core 1 hit an ecall in victim"),
    "no device": ("REGISTER(0x10200C00) = 1;", "core 1 writes a register that no device has (address 0x10200c00) in"),
    "no register": ("REGISTER(EVENTS + 0x18) = 1;", "core 1 writes register 0x18 of the event unit"),
    "narrow register": (
        "*(volatile uint8_t *)(uintptr_t)(EVENTS + 8) = 1;",
        "core 1 writes 1 B of a register of the event unit (0x10204008)",
    ),
    "long transfer": (
        "REGISTER(DMA); REGISTER(DMA) = 131072 | INCREMENT;",
        "core 1 starts a DMA transfer of 0 or more than",
    ),
    "wait elsewhere": ("wait(0x10000000);", "core 1 waits by reading 0x10000000, which is no wait register in victim"),
    "deadlock": (
        "listen(8); wait(EVENTS + 0x3C);",
        "all cores wait and no event will come: core 1 for events 0x8 in victim",
    ),
    "everybody sleeps": ("(void)p;", "all cores sleep, and nobody has written an exit code"),
    "endless": ("for (;;) { (void)*p; }", "it gave no answer for 0.2 s, core 1 is in victim"),
    "null minus 4": ("*(p = (void *)0xFFFFF804) = 1;", "core 1 wrote near the null pointer, at 0xfffff804"),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases in one program: core 1 runs the one whose number is in `chosen`."""
    cases = "".join(f"case {number}: {body} break;" for number, (body, _) in enumerate(CASES.values()))
    keep = "(void)p; (void)*(volatile const uint32_t *)constants;"
    victim = f"void victim(volatile uint32_t *p) {{ {keep} switch (chosen) {{ {cases} }} }}"
    return build(tmp_path_factory.mktemp("traps"), cores=2, text=HEAD + victim + MAIN)


@pytest.mark.parametrize("name", CASES)
def test_traps(program: Path, name: str) -> None:
    board = Board(program, 2)
    board.write(board.symbols["chosen"], bytes([list(CASES).index(name)]))
    with pytest.raises(VerifyError, match=re.escape(f"the Siracusa program: {CASES[name][1]}")):
        board.run(0.2)


def test_the_faulting_instruction_is_named_inside_translated_code(tmp_path: Path) -> None:
    code = """
    .globl core_main, bad
    .type core_main, @function
    .option norvc
core_main:
    li a0, 0x1003fffc
    .insn r 0x33, 0, 0x21, a1, a1, a1
    lw a2, 0(a0)
    addi a0, a0, 4
    beqz zero, 1f
    nop
1:  .insn r 0x57, 1, 0x5C, a1, a1, a1
    nop
bad:
    .insn i 0x0b, 0, a3, 1(a0)
    ret
"""
    (tmp_path / "bad.S").write_text(code)
    for floats in ("zfinx", "f"):
        board = Board(build(tmp_path, str(tmp_path / "bad.S"), cores=1, floats=floats), 1)
        with pytest.raises(VerifyError, match=f"in bad .pc {board.symbols['bad']:#010x}."):
            board.run(5)


def test_the_access_that_a_device_refuses_is_named(tmp_path: Path) -> None:
    code = """
    .globl core_main, bad
    .option norvc
core_main:
    li a0, 0x10200C00
    .insn r 0x33, 0, 0x21, a1, a1, a1
bad:
    lw a1, 0(a0)
    nop
    .insn r 0x33, 0, 0x21, a1, a1, a1
    ret
"""
    (tmp_path / "bad.S").write_text(code)
    board = Board(build(tmp_path, str(tmp_path / "bad.S"), cores=1), 1)
    with pytest.raises(VerifyError, match=f"no device has .* in bad .pc {board.symbols['bad']:#010x}."):
        board.run(5)


def test_float_unit_off(tmp_path: Path) -> None:
    code = ".globl core_main\ncore_main: csrw mstatus, zero\n.insn r 0x57, 1, 0x5C, a1, a1, a1\nret\n"
    (tmp_path / "off.S").write_text(code)
    board = Board(build(tmp_path, str(tmp_path / "off.S"), cores=1, floats="f"), 1)
    with pytest.raises(VerifyError, match="core 0 hit 0xb8b595d7 while its float unit is off"):
        board.run(5)


LOADS = [
    ("sizes", {"L1": 4096}, "would be loaded after the end of L1"),
    ("sizes", {"L9": 4096}, "the board has no memory L9"),
    ("cores", 9, "the board has 1 to 8 cluster cores, not 9"),
    ("order", [0, 0], "the order of 2 cores must name each of them once"),
]


@pytest.mark.parametrize(("option", "value", "why"), LOADS)
def test_boards_that_cannot_be(tmp_path: Path, option: str, value: object, why: str) -> None:
    elf = build(tmp_path, text="L1 int x = 1; void core_main(uint32_t core) { (void)core; }", cores=2)
    with pytest.raises(VerifyError, match=why):
        Board(elf, **({"cores": 2} | {option: value}))  # type: ignore[arg-type]


def test_files_that_are_no_program(tmp_path: Path) -> None:
    (tmp_path / "a.elf").write_bytes(b"not an ELF file")
    with pytest.raises(VerifyError, match=r"cannot load a\.elf"):
        Board(tmp_path / "a.elf")
    with pytest.raises(VerifyError, match=r"cannot load b\.elf"):
        Board(tmp_path / "b.elf")
