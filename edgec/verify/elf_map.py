"""check_elf(): the linked program holds what the plan says, section by section and byte by byte."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from elftools.elf.elffile import ELFFile
from numpy.typing import NDArray

from edgec.emit.model_c import arena_bytes
from edgec.emit.project import rv32_stack_bytes
from edgec.errors import VerifyError
from edgec.memory.placement import align
from edgec.memory.plan import Plan

ARENA = ".edgec."


def check_elf(plan: Plan, images: Mapping[str, NDArray[np.uint8]], elf: Path) -> None:
    """Raise VerifyError unless the ELF's map is the plan's.

    Every memory has one section, as large as the plan's data there, that begins with the memory's image; the stack has
    the bytes that the target reserves; code and the program's own data fit what the plan keeps free for them.
    """
    planned = {m.name: arena_bytes(plan, m.name) for m in plan.target.memories}
    planned = {name: size for name, size in planned.items() if size}
    program, stack, found = 0, 0, set[str]()
    with elf.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if not section["sh_flags"] & 2:  # SHF_ALLOC: what takes memory
                continue
            if section.name.startswith(ARENA):
                level = section.name.removeprefix(ARENA)
                found.add(level)
                _check_arena(level, section, planned.get(level, 0), images.get(level))
            elif section.name == ".stack":
                stack += section["sh_size"]
            else:
                program += section["sh_size"]
    if missing := sorted(set(planned) - found):
        raise VerifyError(f"the program has no section for {missing[0]}, where the plan has {planned[missing[0]]} B.")
    reserved = rv32_stack_bytes(plan.target)
    if stack != reserved:
        raise VerifyError(f"the program's stack has {stack} B, the plan's {reserved}.")
    memory = plan.target.memory_by_name[plan.target.placement.program]
    if align(plan.used_bytes(memory.name)) + align(stack) + program > memory.capacity_bytes:
        raise VerifyError(f"code and data of {program} B do not fit {memory.name} beside what the plan has there.")


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
