"""Writes the assembly text of translated instructions.

Names in the text: o_X is the translation of the instruction at address X, a_X is the original one, r_X is where a wait
at X goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from edgec.errors import VerifyError
from edgec.verify.board import core_local, floats, hardware_loops, zfinx
from edgec.verify.board.decode import OPPOSITE, Decoded, Kind, condition
from edgec.verify.board.hardware_loops import Loop, is_loop_instruction
from edgec.verify.board.instruction import NAMES, SCRATCH, SCRATCH_REGISTERS, rd, rs1, signed
from edgec.verify.board.program import Program
from edgec.verify.board.table import find

ELW = 0x6003  # opcode and funct3 of p.elw
HEADER = (".option norvc", ".option norelax", ".globl wait_stop", "wait_stop: nop", "sleep_stop: nop")


class TranslatedText:
    """Text that grows by one instruction after the other.

    translated  addresses of all instructions that will be added
    loops       all hardware loops, each with the counter of its place in the list
    stream      the whole program
    """

    def __init__(
        self, program: Program, stream: Sequence[Decoded], loops: Sequence[Loop], translated: Collection[int]
    ) -> None:
        self.lines = list(HEADER)
        self.outside: set[int] = set()  # original addresses that the text names
        self._program, self._translated = program, translated
        self._ends: dict[int, list[tuple[int, Loop]]] = {}
        for i, loop in enumerate(loops):
            self._ends.setdefault(loop.end, []).append((core_local.counter(i), loop))
        # Scratch registers are saved in float registers that the program does not use: much faster than memory.
        free = zfinx.FREE if program.zfinx else floats.unused(stream)
        self._free_floats = free[: len(SCRATCH)] if len(free) >= len(SCRATCH) else ()

    def size(self) -> int:
        """No fewer bytes than the text assembles to: li and la may be two instructions."""
        return sum(8 if line.startswith(("li ", "la ")) else 0 if line.endswith(":") else 4 for line in self.lines)

    def add(self, instruction: Decoded) -> None:
        """Add one instruction, and the way back to its start if it ends a hardware loop."""
        self.lines.append(f"o_{instruction.address:x}:")
        word, kind = instruction.word, instruction.kind
        if kind is Kind.BRANCH:
            self._branch(instruction)
        elif kind is Kind.JUMP:
            self.jump(instruction.target)
        elif kind is Kind.OTHER:  # only where it is
            self.outside.add(instruction.address)
            self.lines.append(f"j a_{instruction.address:x}")
        elif kind is Kind.ADDRESS:
            self.lines.append(f"li {NAMES[rd(word)]},{instruction.target:#x}")
        elif kind is Kind.HART:
            self.lines.append(f"lw {NAMES[rd(word)]},{core_local.HART}(zero)")
        elif kind is Kind.SLEEP:
            self.lines.append("j sleep_stop")
        elif instruction.size == 2:
            self.lines.append(f".half {word:#x}")
        elif is_loop_instruction(instruction):
            self._loop_instruction(instruction)
        elif word & 0x707F == ELW:
            self._wait(instruction)
        else:
            self._arithmetic(instruction)
        for counter, loop in self._ends.get(instruction.address, []):
            self._loop_end(counter, loop)

    def jump(self, address: int) -> None:
        """Add a jump to an instruction, to its translation if it has one."""
        self.lines.append(f"j {self._label(address)}")

    def _label(self, address: int) -> str:
        if address in self._translated:
            return f"o_{address:x}"
        self.outside.add(address)
        return f"a_{address:x}"

    def _save(self, registers: Iterable[str]) -> None:
        if self._free_floats:
            self.lines += [f"fmv.w.x {place},{r}" for r, place in zip(registers, self._free_floats, strict=False)]
        else:
            self.lines += [f"sw {r},{offset}(zero)" for r, offset in zip(registers, core_local.SAVED, strict=False)]

    def _restore(self, registers: Iterable[str]) -> None:
        if self._free_floats:
            self.lines += [f"fmv.x.w {r},{place}" for r, place in zip(registers, self._free_floats, strict=False)]
        else:
            self.lines += [f"lw {r},{offset}(zero)" for r, offset in zip(registers, core_local.SAVED, strict=False)]

    def _with_scratch(self, registers: Sequence[str], lines: Iterable[str]) -> None:
        self._save(registers)
        self.lines += lines
        self._restore(registers)

    def _arithmetic(self, instruction: Decoded) -> None:
        word = instruction.word
        on_floats = zfinx.assembly(word) if self._program.zfinx else None
        found = find(word)
        if on_floats is not None:
            self.lines += on_floats
        elif found is not None:
            why = found.refuse(word)
            if why:
                raise VerifyError(f"{found.name} in {self._program.where(instruction.address)} cannot be used: {why}")
            self._with_scratch(*found.assembly(word))
        else:
            self.lines.append(f".word {word:#x}")

    def _branch(self, instruction: Decoded) -> None:
        mnemonic, first, second = condition(instruction.word, instruction.size)
        target = self._label(instruction.target)
        if mnemonic.startswith("p."):
            scratch = [self._scratch(first)]
            opposite = OPPOSITE["beq" if mnemonic == "p.beqimm" else "bne"]
            self._save(scratch)
            self.lines += [f"li {scratch[0]},{second}", f"{opposite} {NAMES[first]},{scratch[0]},1f"]
            self._restore(scratch)
            self.lines += [f"j {target}", "1:"]
            self._restore(scratch)
        else:
            self.lines += [f"{OPPOSITE[mnemonic]} {NAMES[first]},{NAMES[second]},1f", f"j {target}", "1:"]

    def _wait(self, instruction: Decoded) -> None:
        """p.elw: leave the address that is read, stop, and go on with what the device answered."""
        word = instruction.word
        scratch = [self._scratch(rs1(word))]
        resume = f"r_{instruction.address:x}"
        lines = [
            f"addi {scratch[0]},{NAMES[rs1(word)]},{signed(word >> 20, 12)}",
            f"sw {scratch[0]},{core_local.WAIT_ADDRESS}(zero)",
            f"la {scratch[0]},{resume}",
            f"sw {scratch[0]},{core_local.WAIT_RESUME}(zero)",
        ]
        self._with_scratch(scratch, lines)
        self.lines += ["j wait_stop", f"{resume}:", f"lw {NAMES[rd(word)]},{core_local.WAIT_RESULT}(zero)"]

    # ---- Hardware loops ----

    def _loop_instruction(self, instruction: Decoded) -> None:
        """Counters: each loop end has its own, and only the active one of a loop number is not 0."""
        word = instruction.word
        what, number = hardware_loops.function(word), hardware_loops.number(word)
        count = NAMES[rs1(word)]
        pointer, value = self._scratch(rs1(word)), self._scratch(rs1(word), 1)
        active = core_local.ACTIVE[number]
        lines = [f"lw {pointer},{active}(zero)"]
        if what == hardware_loops.STARTI:  # known beforehand, but it must be counted apart from what follows
            self.lines.append("nop")
            return
        if what in (hardware_loops.COUNTI, hardware_loops.SETUPI):
            lines.append(f"li {value},{hardware_loops.long_immediate(word)}")
            count = value
        if what == hardware_loops.ENDI:
            lines.append(f"lw {value},0({pointer})")
            count = value
        if what in (hardware_loops.COUNT, hardware_loops.COUNTI):
            lines.append(f"sw {count},0({pointer})")
        else:
            counter = self._counter_of(number, hardware_loops.end_address(instruction))
            lines += [f"sw zero,0({pointer})", f"li {pointer},{counter}", f"sw {pointer},{active}(zero)"]
            lines.append(f"sw {count},0({pointer})")
        self._with_scratch((pointer, value), lines)

    def _counter_of(self, number: int, end: int) -> int:
        return next(counter for counter, loop in self._ends[end] if loop.number == number)

    def _loop_end(self, counter: int, loop: Loop) -> None:
        scratch = [NAMES[SCRATCH_REGISTERS[0]]]
        self._save(scratch)
        self.lines += [
            f"lw {scratch[0]},{counter}(zero)",
            f"beqz {scratch[0]},1f",
            f"addi {scratch[0]},{scratch[0]},-1",
            f"sw {scratch[0]},{counter}(zero)",
            f"beqz {scratch[0]},1f",
        ]
        self._restore(scratch)
        self.jump(loop.start)
        self.lines.append("1:")
        self._restore(scratch)

    def _scratch(self, operand: int, which: int = 0) -> str:
        """A register that is not the operand."""
        return NAMES[[register for register in SCRATCH_REGISTERS if register != operand][which]]
