"""Finds the hardware loops of a program: where each one starts and ends is known before it runs.

lp.setup and lp.setupi name the end and start behind themselves. lp.starti and lp.endi name one each; they belong
together when no other lp.starti of that loop is nearer before lp.endi in the same function.

The body must obey the CV32E40P user manual, "Hardware loop constraints": word-aligned first and last instruction, no
compressed instructions, no branches or jumps, at least three instructions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgec.errors import VerifyError
from edgec.verify.board.decode import Decoded, Kind
from edgec.verify.board.instruction import rs1
from edgec.verify.board.program import Program

OPCODE = 0x7B
STARTI, ENDI, COUNT, COUNTI, SETUP, SETUPI = range(6)  # funct3
MINIMUM_BODY = 3


@dataclass(frozen=True)
class Loop:
    """A hardware loop; `end` is the address of the last instruction of the body."""

    number: int
    start: int
    end: int


def is_loop_instruction(instruction: Decoded) -> bool:
    """Whether this is one of lp.starti, endi, count, counti, setup, setupi."""
    word = instruction.word
    return instruction.size == 4 and word & 0xF7F == OPCODE and word >> 12 & 7 <= SETUPI


def function(word: int) -> int:
    """Which of STARTI … SETUPI."""
    return word >> 12 & 7


def number(word: int) -> int:
    """Which loop: 0, the inner one, or 1."""
    return word >> 7 & 1


def long_immediate(word: int) -> int:
    """Unsigned, 12 bits."""
    return word >> 20


def end_address(instruction: Decoded) -> int:
    """The last body instruction that lp.endi, lp.setup or lp.setupi names."""
    word = instruction.word
    half_words = rs1(word) if function(word) == SETUPI else long_immediate(word)
    return instruction.address + 2 * half_words


def find_loops(program: Program, stream: Sequence[Decoded]) -> list[Loop]:
    """All hardware loops in the order of their ends; VerifyError if one breaks a rule."""
    index = {instruction.address: i for i, instruction in enumerate(stream)}
    starts: dict[tuple[int | None, int], list[tuple[int, int]]] = {}
    for instruction in stream:
        if is_loop_instruction(instruction) and function(instruction.word) == STARTI:
            key = program.function_start(instruction.address), number(instruction.word)
            start = instruction.address + 2 * long_immediate(instruction.word)
            starts.setdefault(key, []).append((instruction.address, start))
    loops = set()
    for instruction in stream:
        if not is_loop_instruction(instruction):
            continue
        what = function(instruction.word)
        if what in (SETUP, SETUPI):
            start = instruction.next
        elif what == ENDI:
            key = program.function_start(instruction.address), number(instruction.word)
            found = starts.get(key, [])
            before = [start for address, start in found if address < instruction.address]
            after = [start for address, start in found if address > instruction.address]
            if not found:
                _refuse(program, instruction, "has no lp.starti in its function")
            start = before[-1] if before else after[0]
        else:
            continue
        loop = Loop(number(instruction.word), start, end_address(instruction))
        _check(program, instruction, loop, stream, index)
        loops.add(loop)
    found_loops = sorted(loops, key=lambda loop: (loop.end, loop.number))
    for first, second in pairwise(found_loops):
        if (first.number, first.end) == (second.number, second.end):
            where = program.where(first.end)
            raise VerifyError(f"the hardware loops {first.number} that end in {where} start at different addresses")
    return found_loops


def _check(program: Program, setup: Decoded, loop: Loop, stream: Sequence[Decoded], index: Mapping[int, int]) -> None:
    if loop.start not in index or loop.end not in index or loop.end < loop.start:
        _refuse(program, setup, f"ends at {loop.end:#010x}, which is no instruction behind its start")
    body = stream[index[loop.start] : index[loop.end] + 1]
    compressed = next((instruction for instruction in body if instruction.size == 2), None)
    if compressed is not None:
        _refuse(program, setup, f"has a compressed instruction at {compressed.address:#010x}: assemble it with norvc")
    if loop.start % 4 or loop.end % 4:
        _refuse(program, setup, f"has a body from {loop.start:#010x} to {loop.end:#010x}: align it to 4 bytes")
    if len(body) < MINIMUM_BODY:
        _refuse(program, setup, f"has a body of {len(body)} instructions, fewer than {MINIMUM_BODY}")
    jump = next((i for i in body if i.kind in (Kind.BRANCH, Kind.JUMP, Kind.OTHER, Kind.SLEEP)), None)
    if jump is not None:
        _refuse(program, setup, f"has a branch or jump at {jump.address:#010x} in its body")


def _refuse(program: Program, setup: Decoded, why: str) -> None:
    raise VerifyError(f"the hardware loop {number(setup.word)} set up in {program.where(setup.address)} {why}")
