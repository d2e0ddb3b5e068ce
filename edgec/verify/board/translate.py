"""Rewrites a program's XpulpV2 instructions, hardware loops and Zfinx floats into RV32IMF, before it runs.

A custom instruction's place gets a jump to its translation, which lies in memory that only this translation uses.
Translations of neighbouring instructions follow each other, and so do ordinary instructions and branches between them,
so that an inner loop runs without leaving the translated code. Where an instruction is not translated, the translated
code jumps back to the original. translated_text.py writes the assembly text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from edgec.errors import VerifyError
from edgec.verify.board import zfinx
from edgec.verify.board.assembler import assemble
from edgec.verify.board.decode import Decoded, Kind, condition, instructions
from edgec.verify.board.hardware_loops import find_loops, is_loop_instruction
from edgec.verify.board.memory import PAGE, Memories
from edgec.verify.board.program import Program
from edgec.verify.board.table import find
from edgec.verify.board.translated_text import ELW, TranslatedText

JUMP_REACH = 1 << 20
GUARD = 1 << 16  # unmapped bytes between the translation and the program's memory
LONGEST_SPAN = 1024  # bytes of a loop that is translated as a whole
LARGEST_GAP = 64  # bytes of ordinary code between custom instructions that are translated with them


@dataclass
class Translation:
    """Code for the emulator, and how to find the way back to the program."""

    address: int
    code: bytes
    patches: dict[int, int]  # address → word to write over the program's
    words: dict[int, int]  # address → what it is written over
    wait_stop: int  # the core comes here to wait for an event
    sleep_stop: int  # and here when it has executed wfi
    counters: int  # words of loop counters
    starts: list[tuple[int, int]]  # (address in the translation, original address), ascending
    counted: list[int]  # addresses in the translation at which an instruction of the program is executed, ascending

    def original(self, pc: int) -> int:
        """The program's pc of a pc that may be in the translation."""
        if not self.address <= pc < self.address + len(self.code):
            return pc
        at = bisect_right(self.starts, (pc, 1 << 32)) - 1
        return self.starts[max(at, 0)][1]


def translate(program: Program, memories: Memories, entries: Collection[int] = ()) -> Translation:
    """Translate the custom instructions of all executable sections.

    entries  addresses of instructions that are always reached where they are, so that the emulator can stop there
    """
    return _Translator(program, memories, frozenset(entries)).result()


class _Translator:
    def __init__(self, program: Program, memories: Memories, entries: frozenset[int]) -> None:
        self.program = program
        self.memories = memories
        self.stream = [instruction for code in program.code for instruction in instructions(code)]
        self.index = {instruction.address: i for i, instruction in enumerate(self.stream)}
        self.loops = find_loops(program, self.stream)
        self.loop_ends = {loop.end for loop in self.loops}
        self.entries = entries

    def result(self) -> Translation:
        custom = [i for i, instruction in enumerate(self.stream) if self._is_custom(instruction)]
        runs = self._runs(custom)
        translated = {self.stream[i].address for first, end in runs for i in range(first, end)} - self.entries
        text = TranslatedText(self.program, self.stream, self.loops, translated)
        for first, end in runs:
            for i in range(first, end):
                text.add(self.stream[i])
                if i + 1 == end or self.stream[i + 1].address != self.stream[i].next:
                    text.jump(self.stream[i].next)
        address = self._place(-(-text.size() // PAGE) * PAGE)
        outside = tuple((f"a_{at:x}", at) for at in sorted(text.outside))
        code, labels = assemble("\n".join(text.lines) + "\n", address, outside)
        starts = sorted((at, int(name[2:], 16)) for name, at in labels.items() if name.startswith("o_"))
        sites = [self.stream[i] for i in custom]
        return Translation(
            address,
            code,
            {site.address: _jal(site.address, labels[f"o_{site.address:x}"]) for site in sites},
            {site.address: site.word for site in sites},
            labels["wait_stop"],
            labels["sleep_stop"],
            len(self.loops),
            starts,
            [at for at, original in starts if self.stream[self.index[original]].kind is not Kind.OTHER],
        )

    # ---- What is translated ----

    def _is_custom(self, instruction: Decoded) -> bool:
        """Whether the emulator cannot execute this instruction where it is."""
        if instruction.address in self.loop_ends or instruction.kind in (Kind.HART, Kind.SLEEP):
            return True
        word = instruction.word
        if instruction.size == 2:
            return False
        if instruction.kind is Kind.BRANCH:
            return condition(word, 4)[0].startswith("p.")
        return (
            is_loop_instruction(instruction)
            or word & 0x707F == ELW
            or find(word) is not None
            or (self.program.zfinx and zfinx.assembly(word) is not None)
        )

    def _runs(self, custom: Sequence[int]) -> list[tuple[int, int]]:
        """Ranges [first, end) of the stream to translate: custom instructions, small gaps, and loops around them."""
        spans = [(i, i + 1) for i in custom]
        spans += [(self.index[loop.start], self.index[loop.end] + 1) for loop in self.loops]
        for i, instruction in enumerate(self.stream):
            first = self.index.get(instruction.target)
            back = instruction.address - instruction.target
            jumps = instruction.kind in (Kind.BRANCH, Kind.JUMP)
            if jumps and first is not None and 0 < back < LONGEST_SPAN and _any_between(custom, first, i):
                spans.append((first, i + 1))
        runs: list[tuple[int, int]] = []
        for first, end in sorted(spans):
            if runs and self.stream[first].address - self.stream[runs[-1][1] - 1].next <= LARGEST_GAP:
                before = runs.pop()
                first, end = before[0], max(before[1], end)
            runs.append((first, end))
        return runs

    def _place(self, size: int) -> int:
        """An address for `size` bytes of translation from which all of the code can be reached by a jump."""
        if not self.stream:
            raise VerifyError("the program has no executable section")
        first, last = self.stream[0].address, self.stream[-1].next
        for candidate in self._candidates(first, size):
            if max(last - candidate, candidate + size - first) < JUMP_REACH and self._is_free(candidate, size):
                return candidate
        raise VerifyError(
            f"the code from {first:#010x} to {last:#010x} leaves no room for {size} B of translation in a jump's reach"
        )

    def _candidates(self, first: int, size: int) -> Iterable[int]:
        region = self.memories.region(first, 1)
        if region is None:
            raise VerifyError(f"the code at {first:#010x} is {self.memories.place(first)}")
        return region.first - GUARD - size, region.end + GUARD

    def _is_free(self, address: int, size: int) -> bool:
        return not any(r.first < address + size and address < r.end for r in self.memories.regions)


def _any_between(custom: Sequence[int], first: int, end: int) -> bool:
    at = bisect_right(custom, first - 1)
    return at < len(custom) and custom[at] < end


def _jal(address: int, target: int) -> int:
    """The word of a jump without a return address."""
    offset = target - address
    if not -JUMP_REACH <= offset < JUMP_REACH:
        raise VerifyError(f"a jump from {address:#010x} does not reach its translation at {target:#010x}")
    return (
        0x6F
        | (offset >> 12 & 0xFF) << 12
        | (offset >> 11 & 1) << 20
        | (offset >> 1 & 0x3FF) << 21
        | (offset >> 20 & 1) << 31
    )
