"""Each XpulpV2 instruction computes what its definition says, and the definitions what the manual says."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from board_programs import FLOATS

from edgec.errors import VerifyError
from edgec.verify.board.bus import CONTROLLER, Bus
from edgec.verify.board.core import Core, State
from edgec.verify.board.instruction import MASK, NAMES, Instruction, rd, rs1
from edgec.verify.board.memory import PAGE, Memories
from edgec.verify.board.program import Program
from edgec.verify.board.table import TABLE, find
from edgec.verify.board.translate import translate
from edgec.verify.toolchain import zig

BY_NAME = {instruction.name: instruction for instruction in TABLE}
DATA = 0x10000000
A2 = 12 << 20  # register a2 in the field rs2
INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, MASK, 0x80808080, 0x7F7F7F7F)
# Fields that name the same register, register zero, and the registers that translations use.
FIELDS = [
    (10, 11, 12),
    (10, 10, 12),
    (10, 11, 10),
    (10, 11, 11),
    (10, 10, 10),
    (0, 11, 12),
    (10, 0, 12),
    (10, 11, 0),
    (5, 6, 7),
    (6, 5, 28),
    (29, 30, 31),
    (2, 3, 4),
]


class Plain:
    """A memory for the definitions."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)

    def load(self, address: int, size: int) -> int:
        return int.from_bytes(self.data[address - DATA : address - DATA + size], "little")

    def store(self, address: int, size: int, value: int) -> None:
        self.data[address - DATA : address - DATA + size] = value.to_bytes(size, "little")


def run(name: str, d: int, a: int, b: int, bits: int) -> int:
    """a0 after an instruction with rd = a0, rs1 = a1 and these bits of the word: rs2 or an immediate."""
    registers = [0] * 32
    registers[10:13] = d & MASK, a & MASK, b & MASK
    instruction = BY_NAME[name]
    word = instruction.match | 10 << 7 | 11 << 15 | bits
    assert find(word) is instruction
    instruction.execute(word, registers, Plain(b""))
    return registers[10]


HAND = [  # name, old rd, rs1, rs2, bits of the word, new rd
    ("p.abs", 0, -5, 0, 0, 5),
    ("p.abs", 0, 0x80000000, 0, 0, 0x80000000),
    ("p.min", 0, -1, 1, A2, MASK),
    ("p.minu", 0, -1, 1, A2, 1),
    ("p.max", 0, -1, 1, A2, 1),
    ("p.maxu", 0, -1, 1, A2, MASK),
    ("p.slet", 0, -1, -1, A2, 1),
    ("p.sletu", 0, -1, 1, A2, 0),
    ("p.ror", 0, 0x80000001, 1, A2, 0xC0000000),
    ("p.clip", 0, 200, 0, 8 << 20, 127),
    ("p.clip", 0, -200, 0, 8 << 20, -128),
    ("p.clip", 0, -3, 0, 8 << 20, -3),
    ("p.clip", 0, -7, 0, 0 << 20, -1),
    ("p.clipu", 0, 300, 0, 9 << 20, 255),
    ("p.clipu", 0, -1, 0, 9 << 20, 0),
    ("p.clipr", 0, -300, 127, A2, -128),
    ("p.clipr", 0, 300, 127, A2, 127),
    ("p.clipur", 0, -300, 127, A2, 0),
    ("p.mac", 10, 3, -4, A2, -2),
    ("p.msu", 10, 3, -4, A2, 22),
    ("p.exths", 0, 0x18000, 0, 0, -32768),
    ("p.exthz", 0, 0x18000, 0, 0, 0x8000),
    ("p.extbs", 0, 0x180, 0, 0, -128),
    ("p.extbz", 0, 0x180, 0, 0, 0x80),
    ("p.ff1", 0, 0b101000, 0, 0, 3),
    ("p.ff1", 0, 0, 0, 0, 32),
    ("p.fl1", 0, 0b101000, 0, 0, 5),
    ("p.fl1", 0, 0, 0, 0, 32),
    ("p.clb", 0, -1, 0, 0, 31),
    ("p.clb", 0, 0, 0, 0, 0),
    ("p.clb", 0, 1, 0, 0, 30),
    ("p.cnt", 0, 0xF0F00001, 0, 0, 9),
    ("p.extract", 0, 0x00008F00, 0, 7 << 25 | 8 << 20, 0xFFFFFF8F),
    ("p.extractu", 0, 0x00008F00, 0, 7 << 25 | 8 << 20, 0x8F),
    ("p.insert", 0xFFFFFFFF, 0x12, 0, 7 << 25 | 8 << 20, 0xFFFF12FF),
    ("p.bclr", 0, 0xFFFFFFFF, 0, 3 << 25 | 4 << 20, 0xFFFFFF0F),
    ("p.bclrr", 0, 0xFFFFFFFF, 4, A2, 0xFFFFFFEF),
    ("p.bclrr", 0, 0xFFFFFFFF, 3 << 5 | 4, A2, 0xFFFFFF0F),
    ("p.bset", 0, 0, 0, 3 << 25 | 4 << 20, 0xF0),
    ("p.mulsN", 0, 0x0000FFFE, 3, A2 | 1 << 25, -3),
    ("p.mulhhsRN", 0, 0xFFFE0000, 0x00030000, A2 | 2 << 25, -1),
    ("p.macuN", 5, 7, 9, A2 | 2 << 25, 17),
    ("p.addRN", 0, 5, 6, A2 | 2 << 25, 3),
    ("p.subuN", 0, 1, 2, A2 | 28 << 25, 0xF),
    ("pv.add.h", 0, 0x7FFF0001, 0x0001FFFF, A2, 0x80000000),
    ("pv.add.b", 0, 0x7F8001FF, 0x01FF0101, A2, 0x807F0200),
    ("pv.add.sci.b", 0, 0x00010203, 0, 31 << 20 | 1 << 25, 0xFF000102),
    ("pv.sub.sc.h", 0, 0x00050003, 0x77770004, A2, 0x0001FFFF),
    ("pv.avg.b", 0, 0x7F7F0604, 0x01010202, A2, 0xC0C00403),
    ("pv.avgu.h", 0, 0xFFFF0006, 0x00030002, A2, 0x00010004),
    ("pv.min.b", 0, 0x80017F00, 0x7F028000, A2, 0x80018000),
    ("pv.maxu.b", 0, 0x80017F00, 0x7F028000, A2, 0x80028000),
    ("pv.srl.b", 0, 0x80808080, 0x00010709, A2, 0x80400140),
    ("pv.sra.h", 0, 0x80008000, 0x0001000F, A2, 0xC000FFFF),
    ("pv.sll.sci.h", 0, 0x00018001, 0, 2 << 20, 0x00100010),
    ("pv.and.sc.b", 0, 0xF0F1F2F3, 0x0000000F, A2, 0x00010203),
    ("pv.xor.sci.h", 0, 0x00010001, 0, 31 << 20 | 1 << 25, 0xFFFEFFFE),
    ("pv.cmplt.b", 0, 0x80007F01, 0x00807F02, A2, 0xFF0000FF),
    ("pv.cmpltu.b", 0, 0x80007F01, 0x00807F02, A2, 0x00FF00FF),
    ("pv.cmpeq.h", 0, 0x12345678, 0x12345677, A2, 0xFFFF0000),
    ("pv.abs.b", 0, 0x80FF7F00, 0, 0, 0x80017F00),
    ("pv.dotsp.b", 99, 0x01FF0280, 0x0305FF80, A2, 3 - 5 - 2 + 16384),
    ("pv.dotup.b", 99, 0x01FF0280, 0x0305FF80, A2, 3 + 1275 + 510 + 16384),
    ("pv.dotusp.b", 99, 0x01FF0280, 0x0305FF80, A2, 3 + 1275 - 2 - 16384),
    ("pv.sdotsp.b", 100, 0x01FF0280, 0x0305FF80, A2, 100 + 3 - 5 - 2 + 16384),
    ("pv.sdotup.h", 1, 0xFFFF0002, 0xFFFF0003, A2, 1 + 65535 * 65535 + 6),
    ("pv.sdotusp.sc.b", 0, 0x010203FF, 0x000000FE, A2, -2 * (1 + 2 + 3 + 255)),
    ("pv.dotsp.sci.h", 0, 0x0002FFFF, 0, 31 << 20 | 1 << 25, -1),
    ("pv.extract.b", 0, 0x80FF7F01, 0, 1 << 20 | 1 << 25, 0xFFFFFF80),
    ("pv.extractu.h", 0, 0x80FF7F01, 0, 1 << 25, 0x80FF),
    ("pv.insert.b", 0x11223344, 0xAA, 0, 1 << 20, 0x11AA3344),
    ("pv.shuffle.b", 0, 0x44332211, 0x00010203, A2, 0x11223344),
    ("pv.shuffle.h", 0, 0x44332211, 0x00000001, A2, 0x22114433),
    ("pv.shuffle2.b", 0xD4D3D2D1, 0xA4A3A2A1, 0x07030400, A2, 0xA4D4A1D1),
    ("pv.shuffle2.h", 0xD2D2D1D1, 0xA2A2A1A1, 0x00030000, A2, 0xA2A2D1D1),
    ("pv.shuffle.sci.h", 0, 0x44332211, 0, 1 << 25, 0x22114433),
    ("pv.shuffleI2.sci.b", 0, 0x44332211, 0, 0b01101 << 20 | 1 << 25, 0x33223344),
    ("pv.pack.h", 0, 0x1234, 0x5678, A2, 0x12345678),
    ("pv.packhi.b", 0xFFFFFFFF, 0x12, 0x34, A2, 0x1234FFFF),
    ("pv.packlo.b", 0xFFFFFFFF, 0x12, 0x34, A2, 0xFFFF1234),
]


@pytest.mark.parametrize(("name", "d", "a", "b", "bits", "expected"), HAND)
def test_definition(name: str, d: int, a: int, b: int, bits: int, expected: int) -> None:
    assert run(name, d, a, b, bits) == expected & MASK


def test_no_word_has_two_meanings() -> None:
    for one, other in itertools.combinations(TABLE, 2):
        assert (one.match ^ other.match) & one.mask & other.mask, f"{one.name} and {other.name}"
        assert one.name != other.name


def words(instruction: Instruction, chance: random.Random) -> Iterator[int]:
    """Words of an instruction with all kinds of operands; none that is refused."""
    free = ~instruction.mask & MASK
    for fields in FIELDS:
        word = chance.getrandbits(32) & free & 0xFE000000 | instruction.match
        for shift, value in zip((7, 15, 20), fields, strict=True):
            word |= value << shift & free
        if chance.random() < 0.5 and "(" not in instruction.name:  # the field rs2 may be part of an immediate
            word = word & ~(free & 31 << 20) | chance.getrandbits(5) << 20 & free
        if instruction.refuse(word):
            word &= ~(31 << 20)  # a smaller immediate
        if not instruction.refuse(word):
            yield word


def operands(chance: random.Random) -> int:
    return chance.choice([chance.getrandbits(32), chance.choice(INTERESTING), chance.randrange(-40, 40) & MASK])


@pytest.mark.parametrize("floats", ["zfinx", "f"])
def test_emulator_computes_the_definitions(tmp_path: Path, floats: str) -> None:
    """Scratch registers are saved in float registers, or in memory when the program names all of those."""
    chance = random.Random(1)
    cases = [word for instruction in TABLE for word in words(instruction, chance)]
    assert {find(word) for word in cases} == set(TABLE)
    named = []
    if floats == "f":
        cases = cases[::7]
        named = [f"fmv.x.w a0, f{number}" for number in range(32)]
    lines = [".globl _start", "_start:", ".option norvc", *(f".insn {word:#x}\nwfi" for word in cases), *named, ""]
    (tmp_path / "all.S").write_text("\n".join(lines))
    (tmp_path / "all.ld").write_text("ENTRY(_start) SECTIONS { . = 0x1C000000; .text : { KEEP(*(.text)) } }")
    target = ["-target", "riscv32-freestanding-none", *FLOATS[floats], "-nostdlib", "-static"]
    elf = tmp_path / "all.elf"
    subprocess.run([*zig(), *target, "-T", "all.ld", "all.S", "-o", str(elf)], cwd=tmp_path, check=True)

    program, memories = Program(elf), Memories({"L1": 2 * PAGE, "MRAM": 0, "TILE": 0, "L2": 1 << 19})
    for segment in program.segments:
        memories.load(segment.address, segment.data)
    translation = translate(program, memories)
    for address, patch in translation.patches.items():
        memories.load(address, patch.to_bytes(4, "little"))
    code = mmap.mmap(-1, -(-len(translation.code) // PAGE) * PAGE)
    code[: len(translation.code)] = translation.code
    pointer = ctypes.addressof(ctypes.c_char.from_buffer(code))
    core = Core(CONTROLLER, program, memories, Bus([]), translation, pointer, None, False)
    memories.load(DATA, chance.randbytes(2 * PAGE))
    for i, word in enumerate(cases):
        instruction = find(word)
        assert instruction is not None
        registers = [0, *(operands(chance) for _ in range(31))]
        if instruction.name.startswith(("p.l", "p.s")) and "(" in instruction.name:
            if not rs1(word):
                continue  # no memory at address 0
            registers[rs1(word)] = DATA + PAGE + chance.randrange(-1000, 1000)
            for offset_field in (7, 20):  # for register offsets
                other = word >> offset_field & 31
                if other not in (0, rs1(word)) and "imm" not in instruction.name:
                    registers[other] = chance.randrange(-1000, 1000) & MASK
            if "imm" not in instruction.name and "(rs1)" in instruction.name:
                offset = rd(word) if instruction.name.startswith("p.s") else word >> 20 & 31
                if offset == rs1(word):
                    continue  # twice the address
        expected = list(registers)
        memory = Plain(memories.read(DATA, 2 * PAGE))
        instruction.execute(word, expected, memory)
        core.start(0x1C000000 + 8 * i)
        core.set_registers(registers)
        core.run()
        assert core.state is State.ASLEEP
        found = core.registers()
        changed = {NAMES[n]: (hex(found[n]), hex(expected[n])) for n in range(32) if found[n] != expected[n]}
        assert not changed, f"{instruction.name} {word:#010x} of {[hex(r) for r in registers]}"
        assert memories.read(DATA, 2 * PAGE) == bytes(memory.data), instruction.name


@pytest.mark.parametrize(
    ("word", "why"),
    [
        (0x0000000B | 2 << 12 | 10 << 15 | 10 << 7, "loads into its own address register"),
        (0xC0000033 | 31 << 25 | 1 << 20 | 10 << 7, "its bit field reaches bit 32 of 31"),
        (0x78000057 | 6 << 12 | 1 << 20, "there is no lane 2 among 2"),
    ],
)
def test_words_that_must_not_be_used(word: int, why: str) -> None:
    instruction = find(word)
    assert instruction is not None
    assert why in (instruction.refuse(word) or "")


def test_a_memory_of_an_odd_size_is_refused() -> None:
    with pytest.raises(VerifyError, match="L1 of 1000 B is not a multiple of 4096 B"):
        Memories({"L1": 1000})
