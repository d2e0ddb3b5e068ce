"""One XpulpV2 instruction: its encoding, what it computes, and the RV32IM code that computes the same.

The definition is a Python function on 32-bit unsigned integers. The template is assembly text with the places

    {d} {a} {b} {c}       the registers of the fields rd, rs1, rs2, and rd again where it is a third source
    {s} {t} {u} {v} {w}   scratch registers, none of which is an operand
    {name}                a number that `numbers` takes from the instruction word

A template reads all its sources before it writes {d}, because rd may be one of them.
Source of encodings and meanings: the CV32E40P/RI5CY user manual, "PULP instruction extensions".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

MASK = 0xFFFFFFFF
SCRATCH = ("s", "t", "u", "v", "w")
SCRATCH_REGISTERS = (5, 6, 7, 28, 29, 30, 31, 10)  # five remain beside any three operands
ABI = "zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6"
NAMES = tuple(ABI.split())


class Memory(Protocol):
    """What a load or a store needs of a memory; addresses are absolute, values little-endian."""

    def load(self, address: int, size: int) -> int:
        """The unsigned number in `size` bytes."""

    def store(self, address: int, size: int, value: int) -> None:
        """Write the low `size` bytes of a number."""


Numbers = Callable[[int], Mapping[str, int]]
Compute = Callable[[int, int, int, Mapping[str, int]], int]  # old rd, rs1, rs2, numbers → new rd, taken modulo 2^32
Effect = Callable[[list[int], Memory, int, Mapping[str, int]], None]  # registers, memory, instruction word, numbers


@dataclass(frozen=True)
class Instruction:
    """An instruction word matches if `word & mask == match`."""

    name: str
    mask: int
    match: int
    effect: Effect
    template: str
    numbers: Numbers
    refuse: Callable[[int], str | None]  # why a word of this encoding must not be used, if so

    def execute(self, word: int, registers: list[int], memory: Memory) -> None:
        """Change registers and memory as the instruction does."""
        self.effect(registers, memory, word, self.numbers(word))
        registers[0] = 0

    def assembly(self, word: int) -> tuple[list[str], list[str]]:
        """(the scratch registers used, lines of RV32IM assembly) for one instruction word."""
        names = {"d": NAMES[rd(word)], "a": NAMES[rs1(word)], "b": NAMES[rs2(word)], "c": NAMES[rd(word)]}
        free = (NAMES[r] for r in SCRATCH_REGISTERS if r not in (rd(word), rs1(word), rs2(word)))
        scratch = dict(zip(SCRATCH, free, strict=False))
        used = [register for name, register in scratch.items() if f"{{{name}}}" in self.template]
        text = self.template.format(**names, **scratch, **self.numbers(word))
        return used, [line.strip() for line in text.replace(";", "\n").splitlines() if line.strip()]


def rd(word: int) -> int:
    """Field rd of an instruction word."""
    return word >> 7 & 31


def rs1(word: int) -> int:
    """Field rs1 of an instruction word."""
    return word >> 15 & 31


def rs2(word: int) -> int:
    """Field rs2 of an instruction word."""
    return word >> 20 & 31


def signed(value: int, bits: int = 32) -> int:
    """The two's complement number in the low `bits` bits."""
    value &= (1 << bits) - 1
    return value - (value >> bits - 1 << bits)


def no_numbers(_word: int) -> Mapping[str, int]:
    """The instruction holds registers only."""
    return {}


def never(_word: int) -> str | None:
    """Every word of the encoding may be used."""
    return None


def register_instruction(
    name: str,
    mask: int,
    match: int,
    compute: Compute,
    template: str,
    numbers: Numbers = no_numbers,
    refuse: Callable[[int], str | None] = never,
) -> Instruction:
    """An instruction that only computes a new rd."""

    def effect(registers: list[int], _memory: Memory, word: int, values: Mapping[str, int]) -> None:
        sources = registers[rd(word)], registers[rs1(word)], registers[rs2(word)]
        registers[rd(word)] = compute(*sources, values) & MASK

    return Instruction(name, mask, match, effect, template, numbers, refuse)


def r_type(opcode: int, funct3: int, funct7: int) -> tuple[int, int]:
    """(mask, match) of an instruction with three register fields."""
    return 0xFE00707F, funct7 << 25 | funct3 << 12 | opcode


def i_type(opcode: int, funct3: int) -> tuple[int, int]:
    """(mask, match) of an instruction with an immediate in the upper bits."""
    return 0x707F, funct3 << 12 | opcode
