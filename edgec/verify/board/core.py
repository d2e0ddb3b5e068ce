"""One core: an emulator of its own that shares the board's memories and devices.

It runs until it waits for an event, sleeps, calls the idle function, or fails; then it can be continued.
"""

from __future__ import annotations

import ctypes
import struct
from bisect import bisect_left
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

from unicorn import riscv_const as riscv
from unicorn import unicorn_const as uc
from unicorn.unicorn_py3.unicorn import Uc, UcError

from edgec.errors import VerifyError
from edgec.verify.board import core_local
from edgec.verify.board.bus import CONTROLLER, Bus
from edgec.verify.board.core_local import CoreLocal
from edgec.verify.board.memory import PAGE, Memories
from edgec.verify.board.program import EXECUTE, WRITE, Program
from edgec.verify.board.table import find
from edgec.verify.board.translate import Translation

CONTROLLER_HART = 0x3E0
REGISTERS = [riscv.UC_RISCV_REG_X0 + number for number in range(32)]
GARBAGE = 0xA5A5A5A0  # in all registers of a core that starts
FLOATS_ON = 0x6000  # mstatus.FS
READS = (uc.UC_MEM_READ_UNMAPPED, uc.UC_MEM_READ_PROT)
FETCHES = (uc.UC_MEM_FETCH_UNMAPPED, uc.UC_MEM_FETCH_PROT)
CAUSES = {0: "a jump to an odd address", 1: "a jump to code that is not there", 3: "a breakpoint", 8: "an ecall"}
ILLEGAL = 2
CUSTOM_OPCODES = (0x0B, 0x2B, 0x57, 0x5B, 0x7B)
EBREAKS = (b"\x73\x00\x10\x00", b"\x02\x90")


class State(Enum):
    """What a core is doing."""

    HELD = auto()  # not let go yet
    READY = auto()
    WAITING = auto()  # for an event
    IDLE = auto()  # it has called the idle function
    ASLEEP = auto()  # wfi: for good


class Core:
    """Core `number` of the board; its own words and the emulator's state live here.

    idle      an address at which it stops, in state IDLE
    count     count its instructions; makes it several times slower
    turn      called as it goes on: after how many blocks of instructions, at least 1, run() returns; as slow
    """

    def __init__(
        self,
        number: int,
        program: Program,
        memories: Memories,
        bus: Bus,
        translation: Translation,
        code: int,
        idle: int | None,
        count: bool,
        turn: Callable[[], int] | None = None,
    ) -> None:
        self.number = number
        self.name = "the controller" if number == CONTROLLER else f"core {number}"
        self.state = State.HELD
        self.instructions = 0
        self.stopped = False  # by stop()
        self._program, self._memories, self._bus, self._translation = program, memories, bus, translation
        self._idle = idle
        self._pc = 0
        self._fault: tuple[int, int] | None = None  # access, address
        self._cause: int | None = None  # of a RISC-V exception
        self._raised: BaseException | None = None  # by a device or a hook
        self.local = CoreLocal(CONTROLLER_HART if number == CONTROLLER else number, translation.counters)
        self._cpu: Any = Uc(uc.UC_ARCH_RISCV, uc.UC_MODE_RISCV32)
        self._map(code)
        self._cpu.ctl_exits_enabled(True)
        self._cpu.ctl_set_exits([translation.wait_stop, translation.sleep_stop, *([] if idle is None else [idle])])
        self._cpu.hook_add(uc.UC_HOOK_MEM_INVALID, self._on_invalid)
        self._cpu.hook_add(uc.UC_HOOK_INTR, self._on_exception)
        self._lengths: dict[tuple[int, int], int] = {}
        self._turn, self._left = turn, 0
        if count:
            self._cpu.hook_add(uc.UC_HOOK_BLOCK, self._on_block)
        if turn:
            self._cpu.hook_add(uc.UC_HOOK_BLOCK, self._on_block_of_turn)

    def start(self, address: int) -> None:
        """Let the core go at an address, with unspecified registers."""
        self.set_registers([GARBAGE + number for number in range(32)])
        if self._program.zfinx:
            self._cpu.reg_write(riscv.UC_RISCV_REG_MSTATUS, FLOATS_ON)
        self._pc, self.state = address, State.READY

    def run(self) -> None:
        """Continue until `state` says why the core has stopped, its turn ends, or stop() is called; VerifyError if
        it fails.
        """
        failed = self.stopped = False
        if self._turn:
            self._left = self._turn()
        try:
            self._cpu.emu_start(self._pc, 0)
        except UcError:
            failed = True
        pc = self._pc = int(self._cpu.reg_read(riscv.UC_RISCV_REG_PC))
        if self._raised is not None:
            raised, self._raised = self._raised, None
            if isinstance(raised, VerifyError):
                raise VerifyError(f"{self.name} {raised} in {self.where(pc)}") from None
            raise raised
        if failed or self._fault or self._cause is not None:
            raise VerifyError(f"{self.name} {self._what_failed(pc)}")
        if pc == self._translation.wait_stop:
            self.state = State.WAITING
        elif pc == self._translation.sleep_stop:
            self.state = State.ASLEEP
        elif pc == self._idle:
            self.state = State.IDLE

    def is_idle(self) -> bool:
        """Whether it has called the idle function and waits for answer_idle()."""
        return self.state is State.IDLE

    def stop(self) -> None:
        """Make run() return soon; from another thread or from a device."""
        self.stopped = True
        self._cpu.emu_stop()

    def answer_wait(self, value: int) -> None:
        """End a wait: the p.elw reads this value."""
        self.local[core_local.WAIT_RESULT] = value
        self._pc, self.state = self.local[core_local.WAIT_RESUME], State.READY

    def answer_idle(self) -> None:
        """Return from the idle function."""
        self._pc, self.state = self.register("ra"), State.READY

    def register(self, name: str) -> int:
        """The value of a register, by its name in the ABI."""
        return int(self._cpu.reg_read(getattr(riscv, f"UC_RISCV_REG_{name.upper()}")))

    def registers(self) -> list[int]:
        """The values of x0 to x31."""
        return list(self._cpu.reg_read_batch(REGISTERS))

    def set_registers(self, values: Sequence[int]) -> None:
        """Change x0 to x31."""
        self._cpu.reg_write_batch(list(zip(REGISTERS, values, strict=True)))

    def at_function(self, address: int, call: Callable[[int], None]) -> None:
        """Call `call` with argument a0 whenever the function at `address` is entered."""

        def hook(_cpu: Any, _address: int, _size: int, _data: Any) -> None:
            try:
                call(self.register("a0"))
            except BaseException as error:
                self._raise(error)

        self._cpu.hook_add(uc.UC_HOOK_CODE, hook, None, address, address)

    def where(self, pc: int | None = None) -> str:
        """Function and pc of the original program."""
        if pc is None:
            pc = self.local[core_local.WAIT_RESUME] - 4 if self.state is State.WAITING else self._pc
        return self._program.where(self._translation.original(pc))

    # ---- Memory and devices ----

    def _map(self, code: int) -> None:
        executable = {r.name for s in self._program.segments if s.flags & EXECUTE for r in [self._region(s.address)]}
        for region in self._memories.regions:
            mode = uc.UC_PROT_READ
            mode |= uc.UC_PROT_WRITE if region.writable else 0
            mode |= uc.UC_PROT_EXEC if region.name in executable else 0
            self._cpu.mem_map_ptr(region.first, region.end - region.first, mode, region.pointer)
        for segment in self._program.segments:  # whole pages of code and constants cannot be written
            first, end = -(-segment.address // PAGE) * PAGE, (segment.address + segment.size) // PAGE * PAGE
            if not segment.flags & WRITE and first < end and self._region(segment.address).writable:
                mode = uc.UC_PROT_READ | (uc.UC_PROT_EXEC if segment.flags & EXECUTE else 0)
                self._cpu.mem_protect(first, end - first, mode)
        size = -(-len(self._translation.code) // PAGE) * PAGE
        self._cpu.mem_map_ptr(self._translation.address, size, uc.UC_PROT_EXEC, code)
        own = ctypes.addressof(ctypes.c_char.from_buffer(self.local.data))
        self._cpu.mem_map_ptr(core_local.ADDRESS, PAGE, uc.UC_PROT_READ | uc.UC_PROT_WRITE, own)
        for page in self._bus.pages():
            self._cpu.mmio_map(page, PAGE, self._device_read, page, self._device_write, page)

    def _region(self, address: int) -> Any:
        region = self._memories.region(address, 1)
        if region is None:
            raise VerifyError(f"the program is loaded {self._memories.place(address)} (address {address:#010x})")
        return region

    def _device_read(self, _cpu: Any, offset: int, size: int, page: int) -> int:
        try:
            return self._bus.read(self.number, page + offset, size)
        except BaseException as error:
            self._raise(error)
            return 0

    def _device_write(self, _cpu: Any, offset: int, size: int, value: int, page: int) -> None:
        try:
            self._bus.write(self.number, page + offset, size, value)
        except BaseException as error:
            self._raise(error)

    def _raise(self, error: BaseException) -> None:
        if self._raised is None:
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
        length = self._lengths.get((address, size))
        if length is None:
            length = self._lengths[address, size] = self._count(address, size)
        self.instructions += length

    def _on_block_of_turn(self, _cpu: Any, _address: int, _size: int, _data: Any) -> None:
        self._left -= 1
        if self._left < 0:  # this block is not executed any more
            self.stop()

    def _count(self, address: int, size: int) -> int:
        """How many of the program's instructions a block of code executes; a translation counts where it starts."""
        translation = self._translation
        if translation.address <= address < translation.address + len(translation.code):
            return bisect_left(translation.counted, address + size) - bisect_left(translation.counted, address)
        count, at, code = 0, 0, self._memories.read(address, size)
        while at < size:
            count += address + at not in translation.patches
            at += 4 if struct.unpack_from("<H", code, at)[0] & 3 == 3 else 2
        return count

    # ---- What went wrong ----

    def _what_failed(self, pc: int) -> str:
        if self._cause is not None:  # unicorn has added 4 to the pc by now
            pc -= 4
            if self._cause == ILLEGAL:
                return f"hit {self._illegal(self._translation.original(pc))} in {self.where(pc)}"
            return f"hit {CAUSES.get(self._cause, f'exception {self._cause}')} in {self.where(pc)}"
        if self._fault is None:
            at = self._translation.original(pc)
            code = self._memories.read(at, 4) if self._memories.region(at, 4) else b""
            what = f"hit {CAUSES[3]}" if code.startswith(EBREAKS) else "stopped for an unknown reason"
            return f"{what} in {self.where(pc)}"
        access, address = self._fault
        verb = "read" if access in READS else "jumped" if access in FETCHES else "wrote"
        return f"{verb} {self._memories.place(address)} (address {address:#010x}) in {self.where(pc)}"

    def _illegal(self, pc: int) -> str:
        word = self._translation.words.get(pc) or int.from_bytes(self._memories.read(pc, 4), "little")
        if word & 3 != 3:
            return f"an illegal instruction {word & 0xFFFF:#06x}"
        if find(word) is not None:  # its translation keeps registers in float registers
            return f"{word:#010x} while its float unit is off (mstatus.FS)"
        custom = word & 0x7F in CUSTOM_OPCODES
        what = "a custom instruction that the board does not know," if custom else "an illegal instruction"
        return f"{what} {word:#010x}"
