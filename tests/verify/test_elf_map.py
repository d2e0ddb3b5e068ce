"""The linked programs against the plan: sizes of sections, bytes of images, room for the rest, a chip's addresses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import tiny_models
from elftools.elf.elffile import ELFFile

from edgec import compiler
from edgec.artifact import Artifact
from edgec.chip import Memory
from edgec.errors import VerifyError
from edgec.memory.plan import Buffer, Plan
from edgec.verify.elf_map import check_chip_elf, check_elf
from edgec.verify.toolchain import compile_rv32, sizes

Images = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def elf(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_rv32(artifact.path / "project", tmp_path_factory.mktemp("elf") / "model.elf")


def linked(artifact: Artifact) -> Images:
    """The images that the project's program is linked with."""
    folder = artifact.path / "project"
    return {f.stem.upper(): np.frombuffer(f.read_bytes(), np.uint8).copy() for f in folder.rglob("*.bin")}


def data_only(plan: Plan) -> Plan:
    """The plan as it was before the program's own bytes were known."""
    return replace(plan, buffers=[b for b in plan.buffers if b.kind not in ("code", "data")])


def test_the_program_is_the_plans(artifact: Artifact, elf: Path) -> None:
    images = linked(artifact)
    assert images
    check_elf(data_only(artifact.plan), images, elf)


def grown(plan: Plan) -> Plan:
    return replace(plan, buffers=[*plan.buffers, Buffer("more", "L1", plan.arena_bytes("L1") + 15 & ~15, 16, "state")])


def elsewhere(plan: Plan) -> Plan:
    return replace(plan, buffers=[*plan.buffers, Buffer("more", "L3", 0, 16, "weight")])


def stacked(plan: Plan) -> Plan:
    return replace(plan, target=replace(plan.target, runtime=replace(plan.target.runtime, stack_bytes=32_768)))


def memory(plan: Plan, name: str, **changes: Any) -> Plan:
    """The plan of a target with another memory of this name."""
    memories = tuple(replace(m, **changes) if m.name == name else m for m in plan.target.memories)
    return replace(plan, target=replace(plan.target, memories=memories))


def crowded(plan: Plan) -> Plan:
    return memory(plan, "L2", capacity_bytes=9000)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (grown, r"the program's L1 has \d+ B, the plan's \d+"),
        (elsewhere, "the program has no section for L3, where the plan has 16 B"),
        (stacked, "the program's stack has 16384 B, the plan's 32768"),
        (crowded, "do not fit L2"),
    ],
)
def test_another_plan_is_found_out(artifact: Artifact, elf: Path, change: Callable[[Plan], Plan], said: str) -> None:
    with pytest.raises(VerifyError, match=said):
        check_elf(change(data_only(artifact.plan)), linked(artifact), elf)


def test_one_wrong_byte_is_found(artifact: Artifact, elf: Path) -> None:
    images = linked(artifact)
    level = next(iter(images))
    images[level][7] ^= 1
    with pytest.raises(VerifyError, match=f"the program's {level} differs from the plan's image at byte 7"):
        check_elf(data_only(artifact.plan), images, elf)


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory, objects: Path) -> Artifact:
    """A model with weights in MRAM and off the chip and code in tile SRAM, built with its programs; see chip_elf."""
    source, folder = tiny_models.checkpoint(tiny_models.config()), tmp_path_factory.mktemp("counted")
    level = '[runtime]\ncode_level = "TILE"\ncode_bytes = 131072'
    target = tiny_models.target_file(
        folder / "t.toml", lambda text: text.replace("[runtime]", level), L1=16_384, MRAM=8192, weights=["MRAM", "L3"]
    )

    def check(plan: Plan, images: Images, elf: Path) -> None:
        shutil.copy(elf, folder / "chip.elf")
        check_chip_elf(plan, images, elf)

    with tiny_models.quick(source, objects, measured=True), patch.object(compiler, "check_chip_elf", check):
        return compiler.build("memory", target=str(target), recipe=tiny_models.recipe(), out=folder / "out")


@pytest.fixture(scope="module")
def chip_elf(counted: Artifact) -> Path:
    """The chip's program as build() linked it."""
    return counted.path.parent / "chip.elf"


def test_the_chips_program_is_counted(counted: Artifact, chip_elf: Path) -> None:
    """In its own levels; the generic program's other sizes are nowhere."""
    found, program = sizes(chip_elf), counted.meta["program"]
    assert (program["code_bytes"], program["data_bytes"]) == (found.code_bytes, found.data_bytes + found.bss_bytes)
    assert [program[f"{kind}_level"] for kind in ("code", "data", "stack")] == ["TILE", "L2", "L1"]
    assert program["stack_bytes"] == 2048 + 7 * 768
    homes = {b.name: b for b in counted.plan.buffers}
    assert (homes["code"].level, homes["code"].size) == ("TILE", found.code_bytes)
    assert (homes["data"].level, homes["data"].size) == ("L2", found.data_bytes + found.bss_bytes)


def test_the_chips_program_is_the_plans(counted: Artifact, chip_elf: Path) -> None:
    images = linked(counted)
    assert {"MRAM", "L3"} <= set(images)
    check_chip_elf(counted.plan, images, chip_elf)


def uncounted(plan: Plan, name: str) -> Plan:
    return replace(plan, buffers=[b for b in plan.buffers if b.name != name])


def moved(plan: Plan, name: str, **changes: int) -> Plan:
    return replace(plan, buffers=[replace(b, **changes) if b.name == name else b for b in plan.buffers])


def runtime(plan: Plan, **changes: int) -> Plan:
    return replace(plan, target=replace(plan.target, runtime=replace(plan.target.runtime, **changes)))


def absent(plan: Plan) -> Plan:
    """Something in a memory that the program has no section for."""
    target = replace(plan.target, memories=(*plan.target.memories, Memory("NEW", 4096, True, 0x5000_0000)))
    return replace(plan, target=target, buffers=[*plan.buffers, Buffer("more", "NEW", 0, 16, "weight")])


CHIP_PLANS: dict[str, tuple[Callable[[Plan], Plan], str]] = {
    "size": (grown, r"the program's L1 has \d+ B, the plan's \d+"),
    "section": (absent, "the program has no section for NEW, where the plan has 16 B"),
    "base": (
        partial(memory, name="MRAM", base=0x1050_0000),
        r"the program has section \.edgec\.MRAM at 0x10400000, the plan at 0x10500000",
    ),
    "base off the chip": (
        partial(memory, name="L3", base=0x9000_0000),
        r"the program has section \.edgec\.L3 at 0x80000000, the plan at 0x90000000",
    ),
    "no base": (partial(memory, name="MRAM", base=None), "MRAM has no address in the target file"),
    "loaded": (partial(memory, name="MRAM", on_chip=False), "the program's MRAM is in a segment"),
    "not loaded": (partial(memory, name="L3", on_chip=True), "the program's L3 is in no segment"),
    "code too large": (
        partial(memory, name="TILE", capacity_bytes=20_000),
        r"[\d,]+ B of code do not fit TILE behind the plan's data: [\d,]+ B too many",
    ),
    "data too large": (partial(memory, name="L2", capacity_bytes=512), "B of data do not fit L2"),
    "code elsewhere": (
        partial(moved, name="code", offset=1 << 20),
        r"\.text is at 0x\w+ to 0x\w+, but the plan has code",
    ),
    "less code": (partial(moved, name="code", size=256), r"\.text is at 0x\w+ to 0x\w+, but the plan has code in TILE"),
    "no data": (partial(uncounted, name="data"), r"\.(data|bss) is at 0x\w+ to 0x\w+, but the plan does not count it"),
    "no arguments": (partial(uncounted, name="calls"), r"\.near is at 0x\w+ to 0x\w+, but the plan does not count it"),
    "fewer arguments": (
        partial(moved, name="calls", size=8),
        r"\.near is at 0x\w+ to 0x\w+, but the plan has calls in L1",
    ),
    "no stacks": (partial(uncounted, name="stacks"), "has no buffer for the stacks"),
    "main stack": (partial(runtime, stack_bytes=1024), "has stack_end_0 at 0x10000800, the plan at 0x10000400"),
    "a worker's stack": (
        partial(runtime, worker_stack_bytes=512),
        "has stack_end_1 at 0x10000b00, the plan at 0x10000a00",
    ),
    "HAL state": (partial(moved, name="stacks", size=2048 + 7 * 768 + 32), "has hal_neureka_state at 0x10001d20"),
}


@pytest.mark.parametrize("what", CHIP_PLANS)
def test_another_plan_of_the_chip_is_found_out(counted: Artifact, chip_elf: Path, what: str) -> None:
    change, said = CHIP_PLANS[what]
    with pytest.raises(VerifyError, match=said):
        check_chip_elf(change(counted.plan), linked(counted), chip_elf)


@pytest.mark.parametrize("level", ["L1", "MRAM"])
def test_one_wrong_byte_of_the_chip_is_found(counted: Artifact, chip_elf: Path, level: str) -> None:
    images = linked(counted)
    images[level][7] ^= 1
    with pytest.raises(VerifyError, match=f"the program's {level} differs from the plan's image at byte 7"):
        check_chip_elf(counted.plan, images, chip_elf)


def with_symbol(elf: Path, out: Path, name: str, address: int) -> Path:
    """The ELF with another address of a symbol."""
    data = bytearray(elf.read_bytes())
    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        number = next(i for i, symbol in enumerate(table.iter_symbols()) if symbol.name == name)
        at = table["sh_offset"] + number * table["sh_entsize"] + 4
    data[at : at + 4] = address.to_bytes(4, "little")
    out.write_bytes(data)
    return out


def with_section(elf: Path, out: Path, name: str, address: int) -> Path:
    """The ELF with another address of a section."""
    data = bytearray(elf.read_bytes())
    with elf.open("rb") as file:
        opened = ELFFile(file)
        at = opened["e_shoff"] + opened.get_section_index(name) * opened["e_shentsize"] + 12
    data[at : at + 4] = address.to_bytes(4, "little")
    out.write_bytes(data)
    return out


@pytest.mark.parametrize("name", ["l3_start", "l3_end", "stack_start_3", "stack_end_7", "hal_siracusa_state"])
def test_a_symbol_elsewhere_is_found(counted: Artifact, chip_elf: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(VerifyError, match=f"the program has {name} at 0x10000010, the plan at"):
        check_chip_elf(counted.plan, linked(counted), with_symbol(chip_elf, tmp_path / "elf", name, 0x1000_0010))


def test_sections_that_overlap_are_found(counted: Artifact, chip_elf: Path, tmp_path: Path) -> None:
    with chip_elf.open("rb") as file:
        address = ELFFile(file).get_section_by_name(".data")["sh_addr"]
    with pytest.raises(VerifyError, match=r"sections \.(data|bss) and \.(data|bss) overlap"):
        check_chip_elf(counted.plan, linked(counted), with_section(chip_elf, tmp_path / "elf", ".bss", address))
