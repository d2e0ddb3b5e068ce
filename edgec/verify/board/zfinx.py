"""Float instructions on integer registers (Zfinx), executed by the same instructions on float registers (F).

The emulator knows F only. A Zfinx program uses no float register: ft0 to ft3 are used here, others are FREE.
"""

from __future__ import annotations

from edgec.verify.board.instruction import NAMES, rd, rs1, rs2

FREE = tuple(f"ft{number}" for number in range(4, 9))
OPERATE, FUSED = 0x53, (0x43, 0x47, 0x4B, 0x4F)
TWO_SOURCES = (0x00, 0x04, 0x08, 0x0C, 0x10, 0x14)  # add, sub, mul, div, sgnj, min and max
COMPARE, SQUARE_ROOT, TO_INTEGER, FROM_INTEGER, CLASSIFY = 0x50, 0x2C, 0x60, 0x68, 0x70


def assembly(word: int) -> list[str] | None:
    """RV32IF assembly for a Zfinx instruction word, or None if it is none."""
    opcode, funct7 = word & 0x7F, word >> 25
    if opcode in FUSED and not word >> 25 & 3:
        third = word >> 27
        moves = [f"fmv.w.x ft{i},{NAMES[r]}" for i, r in enumerate((rs1(word), rs2(word), third))]
        on_floats = word & 0x0600707F | 3 << 7 | 0 << 15 | 1 << 20 | 2 << 27
        return [*moves, f".word {on_floats:#x}", f"fmv.x.w {NAMES[rd(word)]},ft3"]
    if opcode != OPERATE:
        return None
    funct3 = word >> 12 & 7
    first, to_float = f"fmv.w.x ft0,{NAMES[rs1(word)]}", f"fmv.x.w {NAMES[rd(word)]},ft3"
    second = f"fmv.w.x ft1,{NAMES[rs2(word)]}"
    kept = word & 0xFE00707F  # opcode, rounding mode or operation
    if funct7 in TWO_SOURCES:
        return [first, second, f".word {kept | 3 << 7 | 1 << 20:#x}", to_float]
    if funct7 == SQUARE_ROOT:
        return [first, f".word {kept | 3 << 7:#x}", to_float]
    if funct7 == COMPARE:
        return [first, second, f".word {kept | rd(word) << 7 | 1 << 20:#x}"]
    if funct7 == TO_INTEGER or (funct7 == CLASSIFY and funct3 == 1):
        return [first, f".word {kept | rd(word) << 7 | rs2(word) << 20:#x}"]
    if funct7 == FROM_INTEGER:
        return [f".word {kept | 3 << 7 | rs1(word) << 15 | rs2(word) << 20:#x}", to_float]
    return None
