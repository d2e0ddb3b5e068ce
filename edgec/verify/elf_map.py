"""The linked program holds what the plan says, section by section and byte by byte.

check_elf()        the generic RV32 program, whose addresses are its linker script's own
check_chip_elf()   a chip's own program: addresses, stacks and what lies behind the plan's data too
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from elftools.elf.elffile import ELFFile
from numpy.typing import NDArray

from edgec.chip import Memory
from edgec.emit.call_blocks import NEAR
from edgec.memory.call_tables import CALLS
from edgec.emit.model_c import arena_bytes
from edgec.emit.project import rv32_stack_bytes
from edgec.errors import VerifyError
from edgec.memory.placement import align
from edgec.memory.plan import Plan
from edgec.verify.board.symbols import read_symbols

ARENA = ".edgec."
ALLOC, WRITE = 2, 1  # ELF's sh_flags: takes memory, is written


def check_elf(plan: Plan, images: Mapping[str, NDArray[np.uint8]], elf: Path) -> None:
    """Raise VerifyError unless the ELF's map is the plan's.

    Every memory has one section, as large as the plan's data there, that begins with the memory's image; the stack has
    the bytes that the target reserves; code and the program's own data fit what the plan keeps free for them.
    """
    planned = _arenas(plan)
    program, stack, found = 0, 0, set[str]()
    with elf.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if not section["sh_flags"] & ALLOC:
                continue
            if section.name.startswith(ARENA):
                level = section.name.removeprefix(ARENA)
                found.add(level)
                _check_arena(level, section, planned.get(level, 0), images.get(level))
            elif section.name == ".stack":
                stack += section["sh_size"]
            else:
                program += section["sh_size"]
    _check_complete(planned, found)
    reserved = rv32_stack_bytes(plan.target)
    if stack != reserved:
        raise VerifyError(f"the program's stack has {stack} B, the plan's {reserved}.")
    memory = plan.target.memory_by_name[plan.target.placement.program]
    if align(plan.used_bytes(memory.name)) + align(stack) + program > memory.capacity_bytes:
        raise VerifyError(f"code and data of {program} B do not fit {memory.name} beside what the plan has there.")


def check_chip_elf(plan: Plan, images: Mapping[str, NDArray[np.uint8]], elf: Path) -> None:
    """Raise VerifyError unless the map of the chip's ELF is the plan's, which has the program's bytes (add_program).

    Every memory has one section at its address, as large as the plan's data there, that begins with the memory's image;
    a segment loads it, unless the memory is off the chip. Code, the program's own data, all stacks and the HAL's
    variables lie in their buffers of the plan. No two sections share a byte.
    """
    with elf.open("rb") as file:
        opened = ELFFile(file)
        sections = [s for s in opened.iter_sections() if s["sh_flags"] & ALLOC and s["sh_size"]]
        _check_chip_arenas(plan, images, opened, [s for s in sections if s.name.startswith(ARENA)])
        _check_program(plan, [s for s in sections if not s.name.startswith(ARENA)])
        _check_apart(sections)
        symbols = {symbol.name: symbol.address for symbol in read_symbols(opened) or ()}
    _check_off_chip(plan, symbols)
    _check_stacks(plan, symbols)


def _arenas(plan: Plan) -> dict[str, int]:
    """Bytes of every memory that the plan has data in."""
    sizes = {m.name: arena_bytes(plan, m.name) for m in plan.target.memories}
    return {name: size for name, size in sizes.items() if size}


def _check_complete(planned: Mapping[str, int], found: set[str]) -> None:
    if missing := sorted(set(planned) - found):
        raise VerifyError(f"the program has no section for {missing[0]}, where the plan has {planned[missing[0]]} B.")


def _check_arena(level: str, section: Any, planned: int, image: NDArray[np.uint8] | None) -> None:
    size = section["sh_size"]
    if size != planned:
        raise VerifyError(f"the program's {level} has {size} B, the plan's {planned}.")
    if image is None:
        return
    held = np.frombuffer(section.data()[: image.size], np.uint8)
    if held.size < image.size or not np.array_equal(held, image):
        at = int(np.argmax(held != image[: held.size])) if held.size else 0
        raise VerifyError(f"the program's {level} differs from the plan's image at byte {at}.")


def _check_chip_arenas(plan: Plan, images: Mapping[str, NDArray[np.uint8]], elf: ELFFile, sections: list[Any]) -> None:
    planned, segments = _arenas(plan), list(elf.iter_segments("PT_LOAD"))
    for section in sections:
        memory = plan.target.memory_by_name[section.name.removeprefix(ARENA)]
        _check_address(f"section {section.name}", section["sh_addr"], _base(memory))
        if any(segment.section_in_segment(section) for segment in segments) != memory.on_chip:
            what = "is in no segment" if memory.on_chip else "is in a segment, which no loader can write"
            raise VerifyError(f"the program's {memory.name} {what}.")
        # what no segment loads has no bytes in the file either: its image comes another way
        image = images.get(memory.name) if memory.on_chip else None
        _check_arena(memory.name, section, planned.get(memory.name, 0), image)
    _check_complete(planned, {section.name.removeprefix(ARENA) for section in sections})


def _check_program(plan: Plan, sections: list[Any]) -> None:
    """What is not the plan's data lies in the plan's buffer for code or data, and these lie in their memories."""
    spans = {name: _span(plan, name) for name in ("code", "data", CALLS)}
    for span in filter(None, spans.values()):
        if (behind := span.end - _base(span.memory) - span.memory.capacity_bytes) > 0:
            raise VerifyError(
                f"{span.end - span.first:,} B of {span.name} do not fit {span.memory.name} behind the plan's data:"
                f" {behind:,} B too many."
            )
    for section in sections:
        home = spans[CALLS if section.name == NEAR else "data" if section["sh_flags"] & WRITE else "code"]
        first, end = section["sh_addr"], section["sh_addr"] + section["sh_size"]
        if home is None or not home.first <= first <= end <= home.end:
            where = f"has {home.name} in {home}" if home else "does not count it"
            raise VerifyError(f"the program's {section.name} is at {first:#x} to {end:#x}, but the plan {where}.")


def _check_apart(sections: list[Any]) -> None:
    for one, next_one in pairwise(sorted(sections, key=lambda s: s["sh_addr"])):
        if one["sh_addr"] + one["sh_size"] > next_one["sh_addr"]:
            raise VerifyError(f"the program's sections {one.name} and {next_one.name} overlap.")


def _check_off_chip(plan: Plan, symbols: Mapping[str, int]) -> None:
    """The addresses by which the HAL knows the memory off the chip, where the plan has data."""
    memory = next((m for m in plan.target.memories if not m.on_chip), None)
    if memory is not None and (size := arena_bytes(plan, memory.name)):
        for name, planned in (("l3_start", _base(memory)), ("l3_end", _base(memory) + size)):
            _check_address(name, symbols.get(name), planned)


def _check_stacks(plan: Plan, symbols: Mapping[str, int]) -> None:
    """Stacks follow each other from the start of the plan's buffer for them; the HAL's variables are its end."""
    span, runtime = _span(plan, "stacks"), plan.target.runtime
    if span is None:
        raise VerifyError(f"the plan of {plan.target.name} has no buffer for the stacks.")
    at = span.first
    for core in range(plan.target.engines[0].cores):
        _check_address(f"stack_start_{core}", symbols.get(f"stack_start_{core}"), at)
        at += runtime.worker_stack_bytes if core else runtime.stack_bytes
        _check_address(f"stack_end_{core}", symbols.get(f"stack_end_{core}"), at)
    for name, address in symbols.items():
        if name.startswith("hal_") and name.endswith("_state") and not at <= address < span.end:
            raise VerifyError(f"the program has {name} at {address:#x}, the plan at {at:#x} to {span.end:#x}.")


def _check_address(name: str, found: int | None, planned: int) -> None:
    if found != planned:
        where = "nowhere" if found is None else f"at {found:#x}"
        raise VerifyError(f"the program has {name} {where}, the plan at {planned:#x}.")


@dataclass(frozen=True)
class _Span:
    """Addresses [first, end) of a buffer of the plan."""

    name: str
    memory: Memory
    first: int
    end: int

    def __str__(self) -> str:
        return f"{self.memory.name} at {self.first:#x} to {self.end:#x}"


def _span(plan: Plan, name: str) -> _Span | None:
    for buffer in plan.buffers:
        if buffer.name == name and buffer.kind in ("code", "data", "stack"):
            memory = plan.target.memory_by_name[buffer.level]
            first = _base(memory) + buffer.offset
            return _Span(name, memory, first, first + buffer.size)
    return None


def _base(memory: Memory) -> int:
    """The memory's address; chips with a program of their own have one for each."""
    if memory.base is None:
        raise VerifyError(f"{memory.name} has no address in the target file, but the program has data there.")
    return memory.base
