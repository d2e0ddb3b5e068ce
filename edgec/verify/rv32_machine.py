"""A bare RV32IMFC machine in an emulator, with nothing mapped but what its program owns.

The emulator is unicorn. The program sees the memories of its link.ld, and one device: the register block that
templates/hal_rv32.c describes. It stops at `hal_rv32_idle`, which it calls when it waits for input or has ended;
with more input it goes on after that call.
"""

from __future__ import annotations

import struct
import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile
from unicorn import riscv_const as riscv
from unicorn import unicorn_const as uc
from unicorn.unicorn_py3.unicorn import Uc, UcError

from edgec.errors import VerifyError
from edgec.verify.driver import Trace

PAGE = 4096
PAINT = 0xA5  # bytes that nobody may rely on: the unused stack, the gaps before arenas
DEVICE = 0x30000000
ADDRESS, BYTES, READ, WRITE, PRINT, TRACE, EXIT = range(0, 28, 4)
NEAR = 1 << 20  # an access this close to a region is put down to it
READS = (uc.UC_MEM_READ_UNMAPPED, uc.UC_MEM_READ_PROT)
FETCHES = (uc.UC_MEM_FETCH_UNMAPPED, uc.UC_MEM_FETCH_PROT)
CAUSES = {1: "a jump to code that is not there", 2: "an illegal instruction", 3: "a breakpoint"}


@dataclass(frozen=True)
class Region:
    """Bytes [first, end) that the program may use, by a name for messages."""

    name: str
    first: int
    end: int
    writable: bool


class Machine:
    """One program, from its first instruction on.

    counted    functions whose instructions are counted exactly; makes the machine 20 to 50 times slower
    on_trace   called for each hal_trace
    """

    def __init__(self, elf: Path, counted: Sequence[str] = ()) -> None:
        self.input, self.output = bytearray(), bytearray()
        self.printed = ""
        self.exit_code: int | None = None
        self.instructions = 0
        self.on_trace: Trace | None = None
        self.symbols: dict[str, int] = {}
        self.regions: list[Region] = []
        self._pc = 0
        self._registers = {ADDRESS: 0, BYTES: 0}
        self._fault: tuple[int, int] | None = None  # access, address
        self._cause: int | None = None  # of a RISC-V exception
        self._raised: BaseException | None = None  # by on_trace
        self._cpu: Any = Uc(uc.UC_ARCH_RISCV, uc.UC_MODE_RISCV32)
        self._load(elf)
        self._cpu.mmio_map(DEVICE, PAGE, self._device_read, None, self._device_write, None)
        self._cpu.hook_add(uc.UC_HOOK_MEM_INVALID, self._on_invalid)
        self._cpu.hook_add(uc.UC_HOOK_INTR, self._on_exception)
        # A model has the calls of its kind alone, but one of them it has.
        self._entries = {self.symbols[name] for name in counted if name in self.symbols}
        if counted and not self._entries:
            raise ValueError(f"the program has none of the functions {', '.join(counted)}")
        self._return_to: int | None = None
        self._lengths: dict[tuple[int, int], int] = {}
        if counted:
            self._cpu.hook_add(uc.UC_HOOK_BLOCK, self._on_block)

    def run(self, seconds: float) -> None:
        """Run until the program waits for input or ends; VerifyError if it traps or takes longer."""
        idle = self.symbols["hal_rv32_idle"]
        failed = False
        timer = threading.Timer(seconds, self._cpu.emu_stop)  # unicorn's own timeout adds milliseconds to every run
        timer.daemon = True
        timer.start()
        try:
            self._cpu.emu_start(self._pc, idle)
        except UcError:
            failed = True
        finally:
            timer.cancel()
        pc = int(self._cpu.reg_read(riscv.UC_RISCV_REG_PC))
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised
        if failed or self._fault or self._cause is not None:
            raise VerifyError(f"the RV32 program {self._what_failed(pc)}")
        if pc != idle:
            raise VerifyError(f"the RV32 program gave no answer for {seconds:g} s, it is in {self._where(pc)}")
        self._check_gaps()
        self._pc = int(self._cpu.reg_read(riscv.UC_RISCV_REG_RA))

    def stack_high_water(self) -> int:
        """The largest number of stack bytes in use at any time so far."""
        start, end = self.symbols["stack_start"], self.symbols["stack_end"]
        return len(bytes(self._cpu.mem_read(start, end - start)).lstrip(bytes([PAINT])))

    # ---- Memory ----

    def _load(self, path: Path) -> None:
        """Map and fill the pages that the ELF's segments need; all other addresses stay unmapped."""
        with path.open("rb") as file:
            elf = ELFFile(file)
            self._pc = int(elf["e_entry"])
            table: Any = elf.get_section_by_name(".symtab")
            symbols = list(table.iter_symbols())
            self.symbols = {str(s.name): int(s["st_value"]) for s in symbols if s.name}
            functions = (s for s in symbols if s["st_info"]["type"] == "STT_FUNC")
            self._functions = sorted((int(s["st_value"]), str(s.name)) for s in functions)
            for section in elf.iter_sections():
                if section.name.startswith(".edgec.") or section.name == ".stack":
                    name = "the stack" if section.name == ".stack" else section.name.removeprefix(".edgec.")
                    first = int(section["sh_addr"])
                    writable = bool(section["sh_flags"] & 1) or name == "the stack"
                    self.regions.append(Region(name, first, first + int(section["sh_size"]), writable))
            for segment in elf.iter_segments("PT_LOAD"):
                # unicorn's permission bits are the ELF's in the opposite order
                mode = sum(mine for its, mine in ((4, 1), (2, 2), (1, 4)) if segment["p_flags"] & its)
                if segment["p_memsz"]:
                    self._map(segment["p_vaddr"], segment["p_vaddr"] + segment["p_memsz"], mode)
                    self._cpu.mem_write(segment["p_vaddr"], segment.data())
        for region in self.regions:
            if region.name == "the stack":
                self._map(region.first, region.end, uc.UC_PROT_READ | uc.UC_PROT_WRITE)
                self._cpu.mem_write(region.first, bytes([PAINT]) * (region.end - region.first))
            gap = region.first % PAGE
            self._cpu.mem_write(region.first - gap, bytes([PAINT]) * gap)

    def _map(self, first: int, end: int, mode: int) -> None:
        page = first // PAGE * PAGE
        self._cpu.mem_map(page, -(-end // PAGE) * PAGE - page, mode)

    def _check_gaps(self) -> None:
        """Find writes into the rest of the page in front of a memory, which cannot be unmapped."""
        for region in self.regions:
            gap = region.first % PAGE
            if gap and bytes(self._cpu.mem_read(region.first - gap, gap)).strip(bytes([PAINT])):
                raise VerifyError(f"the RV32 program wrote before the start of {region.name}")

    # ---- The device ----

    def _device_read(self, _cpu: Any, offset: int, _size: int, _data: Any) -> int:
        if offset != READ:
            return 0
        data = bytes(self.input[: self._registers[BYTES]])
        del self.input[: len(data)]
        self._cpu.mem_write(self._registers[ADDRESS], data)
        return len(data)

    def _device_write(self, _cpu: Any, offset: int, _size: int, value: int, _data: Any) -> None:
        if offset in self._registers:
            self._registers[offset] = value
        elif offset == EXIT:
            self.exit_code = value
        else:
            try:
                data = bytes(self._cpu.mem_read(self._registers[ADDRESS], self._registers[BYTES]))
                if offset == WRITE:
                    self.output += data
                elif offset == PRINT:
                    self.printed += data.decode(errors="replace")
                elif offset == TRACE and self.on_trace:
                    self.on_trace(value, data)
            except UcError:
                self._fault = (uc.UC_MEM_READ_UNMAPPED, self._end_of_region(self._registers[ADDRESS]))
                self._cpu.emu_stop()
            except BaseException as error:
                self._raised = error
                self._cpu.emu_stop()

    # ---- Hooks ----

    def _on_invalid(self, _cpu: Any, access: int, address: int, _size: int, _value: int, _data: Any) -> bool:
        self._fault = (access, address)
        return False

    def _on_exception(self, _cpu: Any, cause: int, _data: Any) -> None:
        self._cause = cause
        self._cpu.emu_stop()

    def _on_block(self, _cpu: Any, address: int, size: int, _data: Any) -> None:
        """Count from the entry of a counted function up to the return address that it was entered with."""
        if self._return_to is None:
            if address not in self._entries:
                return
            self._return_to = int(self._cpu.reg_read(riscv.UC_RISCV_REG_RA))
        elif address == self._return_to:
            self._return_to = None
            return
        length = self._lengths.get((address, size))
        if length is None:
            length = _instructions_in(bytes(self._cpu.mem_read(address, size)))
            self._lengths[address, size] = length
        self.instructions += length

    # ---- What went wrong ----

    def _what_failed(self, pc: int) -> str:
        if self._cause is not None:  # unicorn has added 4 to the pc by now
            return f"hit {CAUSES.get(self._cause, f'exception {self._cause}')} in {self._where(pc - 4)}"
        if self._fault is None:
            return f"stopped for an unknown reason in {self._where(pc)}"
        access, address = self._fault
        verb = "read" if access in READS else "jumped" if access in FETCHES else "wrote"
        return f"{verb} {self._place(address)} (address {address:#010x}) in {self._where(pc)}"

    def _place(self, address: int) -> str:
        for region in self.regions:
            if region.end <= address < region.end + NEAR:
                return f"after the end of {region.name}"
            if region.first - NEAR <= address < region.first:
                return f"before the start of {region.name}"
            if region.first <= address < region.end:
                return f"into {region.name}" if region.writable else f"into read-only {region.name}"
        return "outside all memories"

    def _end_of_region(self, address: int) -> int:
        return next((region.end for region in self.regions if region.first <= address < region.end), address)

    def _where(self, pc: int) -> str:
        at = bisect_right(self._functions, (pc, "\x7f")) - 1
        return f"{self._functions[at][1] if at >= 0 else 'no function'} (pc {pc:#010x})"


def _instructions_in(code: bytes) -> int:
    """How many instructions straight-line RISC-V code holds: the two low bits say 2 or 4 bytes."""
    count = at = 0
    while at < len(code):
        at += 4 if struct.unpack_from("<H", code, at)[0] & 3 == 3 else 2
        count += 1
    return count
