"""An ELF32 RISC-V executable: its segments, symbols, functions and executable words."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from edgec.errors import VerifyError
from edgec.verify.board.symbols import FUNCTION, NO_TYPE, Symbol, read_symbols

WRITE, EXECUTE = 2, 1  # ELF's p_flags
FLOAT_ABI = 6  # ELF's e_flags: floats are passed in float registers


@dataclass(frozen=True)
class Segment:
    """Bytes to load at an address; `size` counts the zero-filled or uninitialised tail too."""

    address: int
    size: int
    data: bytes
    flags: int


@dataclass(frozen=True)
class Code:
    """An executable section; data inside it, by mapping symbols, is [first, end) in `holes`."""

    address: int
    data: bytes
    holes: tuple[tuple[int, int], ...]
    entries: tuple[int, ...]  # addresses of functions, at which decoding starts anew


class Program:
    """What the board needs of an executable; VerifyError if it is not one for RV32."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                self._read(ELFFile(file))
        except (ELFError, OSError) as error:
            raise VerifyError(f"cannot load {path.name}: {error}") from None

    def _read(self, elf: ELFFile) -> None:
        if elf["e_machine"] != "EM_RISCV" or elf.elfclass != 32:
            raise VerifyError(f"cannot load an ELF{elf.elfclass} file for {elf['e_machine']}: the board runs RV32")
        self.entry = int(elf["e_entry"])
        symbols = read_symbols(elf)
        if symbols is None:
            raise VerifyError("cannot load a stripped program: the board needs its symbols")
        self.symbols = {symbol.name: symbol.address for symbol in symbols}
        self._functions = sorted((s.address, s.name) for s in symbols if s.type == FUNCTION)
        code = [section for section in elf.iter_sections() if _is_code(section)]
        ranges = [(int(section["sh_addr"]), int(section["sh_addr"]) + int(section["sh_size"])) for section in code]
        labels = (s for s in symbols if s.type == NO_TYPE and s.name[0] not in "$.")  # start code has labels only
        places = ((s.address, s.name) for s in labels)
        in_code = [place for place in places if any(first <= place[0] < end for first, end in ranges)]
        self._names = sorted([*self._functions, *in_code])
        self.zfinx = _is_zfinx(elf)
        self.segments = [
            Segment(int(s["p_vaddr"]), int(s["p_memsz"]), s.data(), int(s["p_flags"]))
            for s in elf.iter_segments("PT_LOAD")
            if s["p_memsz"]
        ]
        self.code = [self._code(section, symbols) for section in code]

    def function_start(self, address: int) -> int | None:
        """The address of the function that holds an address."""
        at = bisect_right(self._functions, (address, "\x7f")) - 1
        return self._functions[at][0] if at >= 0 else None

    def where(self, pc: int) -> str:
        """Function or label, and pc, for messages."""
        at = bisect_right(self._names, (pc, "\x7f")) - 1
        return f"{self._names[at][1] if at >= 0 else 'no function'} (pc {pc:#010x})"

    def _code(self, section: Any, symbols: list[Symbol]) -> Code:
        first = int(section["sh_addr"])
        end = first + int(section["sh_size"])
        marks = sorted(
            (s.address, s.name[:2]) for s in symbols if s.name[:2] in ("$x", "$d") and first <= s.address < end
        )
        holes = [
            (address, marks[i + 1][0] if i + 1 < len(marks) else end)
            for i, (address, kind) in enumerate(marks)
            if kind == "$d"
        ]
        entries = (address for address, _ in self._functions if first <= address < end)
        return Code(first, section.data(), tuple(holes), tuple(entries))


def _is_code(section: Any) -> bool:
    return bool(section["sh_flags"] & 4 and section["sh_size"] and section["sh_type"] == "SHT_PROGBITS")


def _is_zfinx(elf: ELFFile) -> bool:
    """Whether floats are in the integer registers: the architecture attribute says so, or else the float ABI."""
    section = elf.get_section_by_name(".riscv.attributes")
    if section is not None:
        return b"zfinx" in section.data()
    return not elf["e_flags"] & FLOAT_ABI
