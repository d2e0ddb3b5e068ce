"""Which float registers a program with floats in registers of their own (F) never names."""

from __future__ import annotations

from collections.abc import Iterable

from edgec.verify.board.decode import Decoded
from edgec.verify.board.instruction import rd, rs1, rs2

LOAD, STORE, FUSED, OPERATE = 0x07, 0x27, (0x43, 0x47, 0x4B, 0x4F), 0x53
ABI = (
    "ft0 ft1 ft2 ft3 ft4 ft5 ft6 ft7 fs0 fs1 fa0 fa1 fa2 fa3 fa4 fa5 fa6 fa7 fs2 fs3 fs4 fs5 fs6 fs7 fs8 fs9 fs10 fs11"
)
NAMES = (*ABI.split(), "ft8", "ft9", "ft10", "ft11")


def unused(stream: Iterable[Decoded]) -> tuple[str, ...]:
    """Names of float registers that no instruction names, in their order."""
    used: set[int] = set()
    for instruction in stream:
        used |= _named(instruction.word, instruction.size)
    return tuple(name for number, name in enumerate(NAMES) if number not in used)


def _named(word: int, size: int) -> set[int]:
    """Numbers of the float registers in an instruction; integer registers of conversions are taken for floats too."""
    if size == 2:
        quadrant, funct3 = word & 3, word >> 13
        if quadrant == 0 and funct3 in (3, 7):  # c.flw, c.fsw
            return {8 + (word >> 2 & 7)}
        if quadrant == 2 and funct3 == 3:  # c.flwsp
            return {word >> 7 & 31}
        return {word >> 2 & 31} if quadrant == 2 and funct3 == 7 else set()  # c.fswsp
    opcode = word & 0x7F
    if opcode == LOAD:
        return {rd(word)}
    if opcode == STORE:
        return {rs2(word)}
    if opcode == OPERATE or opcode in FUSED:
        return {rd(word), rs1(word), rs2(word)} | ({word >> 27} if opcode in FUSED else set())
    return set()
