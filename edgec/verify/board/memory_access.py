"""XpulpV2 loads and stores: address registers that grow after the access, and sums of two registers as addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgec.verify.board.instruction import MASK, Instruction, Memory, i_type, no_numbers, r_type, rd, rs1, rs2, signed

LOAD, LOAD_POST, STORE, STORE_POST = 0x03, 0x0B, 0x23, 0x2B
LOADS = (  # name, bytes, signed, funct3 of the immediate form, funct7 of the register forms
    ("lb", 1, True, 0, 0x00),
    ("lh", 2, True, 1, 0x08),
    ("lw", 4, False, 2, 0x10),
    ("lbu", 1, False, 4, 0x20),
    ("lhu", 2, False, 5, 0x28),
)
STORES = (("sb", 1, 0), ("sh", 2, 1), ("sw", 4, 2))  # name, bytes, funct3 of the immediate form


def load_immediate(word: int) -> Mapping[str, int]:
    """The signed 12-bit immediate of a load."""
    return {"imm": signed(word >> 20, 12)}


def store_immediate(word: int) -> Mapping[str, int]:
    """The signed 12-bit immediate of a store."""
    return {"imm": signed((word >> 25) << 5 | word >> 7 & 31, 12)}


def _refuse_one_register(word: int) -> str | None:
    """Value and new address cannot both be kept in one register."""
    return "it loads into its own address register" if rd(word) == rs1(word) else None


Offset = Callable[[list[int], int, Mapping[str, int]], int]  # registers, word, numbers → what is added to the address


def _added_immediate(_registers: list[int], _word: int, numbers: Mapping[str, int]) -> int:
    return numbers["imm"]


def _added_rs2(registers: list[int], word: int, _numbers: Mapping[str, int]) -> int:
    return registers[rs2(word)]


def _added_rd(registers: list[int], word: int, _numbers: Mapping[str, int]) -> int:
    return registers[rd(word)]


def _load(size: int, is_signed: bool, offset: Offset, post: bool) -> Callable[..., None]:
    def effect(registers: list[int], memory: Memory, word: int, numbers: Mapping[str, int]) -> None:
        address = registers[rs1(word)]
        moved = address + offset(registers, word, numbers) & MASK
        value = memory.load(address if post else moved, size)
        registers[rd(word)] = signed(value, 8 * size) & MASK if is_signed else value
        if post:
            registers[rs1(word)] = moved

    return effect


def _store(size: int, offset: Offset, post: bool) -> Callable[..., None]:
    def effect(registers: list[int], memory: Memory, word: int, numbers: Mapping[str, int]) -> None:
        address = registers[rs1(word)]
        moved = address + offset(registers, word, numbers) & MASK
        memory.store(address if post else moved, size, registers[rs2(word)] & (1 << 8 * size) - 1)
        if post:
            registers[rs1(word)] = moved

    return effect


def _loads() -> list[Instruction]:
    found = []
    for name, size, is_signed, funct3, funct7 in LOADS:
        found += [
            Instruction(
                f"p.{name} rd,imm(rs1!)",
                *i_type(LOAD_POST, funct3),
                _load(size, is_signed, _added_immediate, post=True),
                f"{name} {{d}},0({{a}}); addi {{a}},{{a}},{{imm}}",
                load_immediate,
                _refuse_one_register,
            ),
            Instruction(
                f"p.{name} rd,rs2(rs1!)",
                *r_type(LOAD_POST, 7, funct7),
                _load(size, is_signed, _added_rs2, post=True),
                f"add {{s}},{{a}},{{b}}; {name} {{d}},0({{a}}); mv {{a}},{{s}}",
                no_numbers,
                _refuse_one_register,
            ),
            Instruction(
                f"p.{name} rd,rs2(rs1)",
                *r_type(LOAD, 7, funct7),
                _load(size, is_signed, _added_rs2, post=False),
                f"add {{s}},{{a}},{{b}}; {name} {{d}},0({{s}})",
                no_numbers,
                lambda _word: None,
            ),
        ]
    return found


def _stores() -> list[Instruction]:
    found = []
    for name, size, funct3 in STORES:
        found += [
            Instruction(
                f"p.{name} rs2,imm(rs1!)",
                *i_type(STORE_POST, funct3),
                _store(size, _added_immediate, post=True),
                f"{name} {{b}},0({{a}}); addi {{a}},{{a}},{{imm}}",
                store_immediate,
                lambda _word: None,
            ),
            Instruction(
                f"p.{name} rs2,rs3(rs1!)",
                *r_type(STORE_POST, funct3 + 4, 0),
                _store(size, _added_rd, post=True),
                f"{name} {{b}},0({{a}}); add {{a}},{{a}},{{c}}",
                no_numbers,
                lambda _word: None,
            ),
            Instruction(
                f"p.{name} rs2,rs3(rs1)",
                *r_type(STORE, funct3 + 4, 0),
                _store(size, _added_rd, post=False),
                f"add {{s}},{{a}},{{c}}; {name} {{b}},0({{s}})",
                no_numbers,
                lambda _word: None,
            ),
        ]
    return found


INSTRUCTIONS = _loads() + _stores()
