"""Cuts executable sections into instructions and says which of them can be executed at another address.

Only what the translation must know is decoded: lengths, branches and jumps with their targets, and the words that
name the core or put it to sleep.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from edgec.verify.board.instruction import rd, rs1, signed
from edgec.verify.board.program import Code

WFI, MRET, EBREAK, C_EBREAK = 0x10500073, 0x30200073, 0x00100073, 0x9002
MHARTID = 0xF14
CONDITIONS = ("beq", "bne", "p.beqimm", "p.bneimm", "blt", "bge", "bltu", "bgeu")  # by funct3
OPPOSITE = {"beq": "bne", "bne": "beq", "blt": "bge", "bge": "blt", "bltu": "bgeu", "bgeu": "bltu"}


class Kind(Enum):
    """How an instruction depends on where it is."""

    PLAIN = auto()  # not at all
    BRANCH = auto()  # conditional, to `target`
    JUMP = auto()  # always to `target`, without a return address
    OTHER = auto()  # calls, returns, traps: left where they are
    ADDRESS = auto()  # auipc: rd = target
    HART = auto()  # csrr rd, mhartid
    SLEEP = auto()  # wfi


@dataclass(frozen=True)
class Decoded:
    """One instruction of 2 or 4 bytes."""

    address: int
    word: int
    size: int
    kind: Kind
    target: int = 0

    @property
    def ends(self) -> bool:
        """Whether what is behind it is only reached from elsewhere: a jump, a return, padding."""
        word = self.word
        if self.size == 4:
            return self.kind is Kind.JUMP or (word & 0xFFF == 0x067) or word in (MRET, EBREAK)
        return self.kind is Kind.JUMP or word in (0, C_EBREAK) or (word & 0xF07F == 0x8002 and word >> 7 & 31 != 0)

    @property
    def next(self) -> int:
        """The address behind it."""
        return self.address + self.size


def instructions(code: Code) -> Iterator[Decoded]:
    """All instructions of a section in order; decoding starts anew at each function and behind each piece of data.

    An instruction that was written as .word is marked as data too: what an instruction runs into is no data.
    """
    entries = sorted({*code.entries, 1 << 33})
    holes = iter([*code.holes, (1 << 33, 1 << 33)])
    hole = next(holes)
    address, end = code.address, code.address + len(code.data)
    runs_on = False  # from the instruction in front of `address`
    while address + 2 <= end:
        while address >= hole[1]:
            hole = next(holes)
        entry = entries[bisect_right(entries, address)]
        if hole[0] <= address and not runs_on and address not in code.entries:
            address = hole[1]
            continue
        low = int.from_bytes(code.data[address - code.address :][:2], "little")
        size = 4 if low & 3 == 3 else 2
        if address + size > min(end, entry):
            address, runs_on = min(end, entry), False  # padding that is no instruction
            continue
        instruction = decode(address, int.from_bytes(code.data[address - code.address :][:size], "little"), size)
        yield instruction
        address, runs_on = instruction.next, not instruction.ends


def decode(address: int, word: int, size: int) -> Decoded:
    """Classify one instruction."""
    kind, offset = (_compressed if size == 2 else _full)(word)
    return Decoded(address, word, size, kind, address + offset & 0xFFFFFFFF)


def _full(word: int) -> tuple[Kind, int]:
    opcode, funct3 = word & 0x7F, word >> 12 & 7
    if opcode == 0x63:
        offset = word >> 8 & 15 | (word >> 25 & 63) << 4 | (word >> 7 & 1) << 10 | (word >> 31) << 11
        return Kind.BRANCH, signed(offset << 1, 13)
    if opcode == 0x6F:
        offset = word >> 21 & 0x3FF | (word >> 20 & 1) << 10 | (word >> 12 & 0xFF) << 11 | (word >> 31) << 19
        return (Kind.OTHER if rd(word) else Kind.JUMP), signed(offset << 1, 21)
    if opcode == 0x17:
        return Kind.ADDRESS, word & 0xFFFFF000
    if opcode == 0x67:
        return Kind.OTHER, 0
    if word == WFI:
        return Kind.SLEEP, 0
    if opcode == 0x73:
        if funct3 == 2 and word >> 20 == MHARTID and not rs1(word):
            return Kind.HART, 0
        return (Kind.PLAIN if funct3 else Kind.OTHER), 0
    return Kind.PLAIN, 0


def _compressed(word: int) -> tuple[Kind, int]:
    def bits(*places: tuple[int, int]) -> int:
        """Single bits (from, to) of the word."""
        return sum((word >> source & 1) << target for source, target in places)

    quadrant, funct3 = word & 3, word >> 13
    if word == 0:
        return Kind.OTHER, 0
    if quadrant == 1 and funct3 in (1, 5):
        offset = bits((12, 11), (11, 4), (10, 9), (9, 8), (8, 10), (7, 6), (6, 7), (5, 3), (4, 2), (3, 1), (2, 5))
        return (Kind.JUMP if funct3 == 5 else Kind.OTHER), signed(offset, 12)
    if quadrant == 1 and funct3 in (6, 7):
        offset = bits((12, 8), (11, 4), (10, 3), (6, 7), (5, 6), (4, 2), (3, 1), (2, 5))
        return Kind.BRANCH, signed(offset, 9)
    if quadrant == 2 and funct3 == 4 and not word >> 2 & 31:
        return Kind.OTHER, 0
    return Kind.PLAIN, 0


def condition(word: int, size: int) -> tuple[str, int, int]:
    """(mnemonic, rs1, rs2) of a branch; rs2 of p.beqimm and p.bneimm is a 5-bit signed number."""
    if size == 2:
        return ("bne" if word >> 13 & 1 else "beq"), 8 + (word >> 7 & 7), 0
    mnemonic = CONDITIONS[word >> 12 & 7]
    field = word >> 20 & 31
    return mnemonic, rs1(word), signed(field, 5) if mnemonic.startswith("p.") else field
