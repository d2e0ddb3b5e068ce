"""All XpulpV2 instructions that the board executes, found by instruction word."""

from __future__ import annotations

from functools import cache

from edgec.verify.board import lane_moves, memory_access, scalar, simd
from edgec.verify.board.instruction import Instruction

TABLE: tuple[Instruction, ...] = (
    *scalar.INSTRUCTIONS,
    *simd.INSTRUCTIONS,
    *lane_moves.INSTRUCTIONS,
    *memory_access.INSTRUCTIONS,
)


def _by_opcode() -> dict[tuple[int, int], list[Instruction]]:
    found: dict[tuple[int, int], list[Instruction]] = {}
    for instruction in TABLE:
        found.setdefault((instruction.match & 0x7F, instruction.match >> 12 & 7), []).append(instruction)
    return found


_CANDIDATES = _by_opcode()


@cache
def find(word: int) -> Instruction | None:
    """The instruction of a 4-byte word, or None if it is not XpulpV2 or not in the table."""
    for instruction in _CANDIDATES.get((word & 0x7F, word >> 12 & 7), ()):
        if word & instruction.mask == instruction.match:
            return instruction
    return None
