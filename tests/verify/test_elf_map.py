"""The linked program against the plan: sizes of sections, bytes of images, room for the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgec.artifact import Artifact
from edgec.errors import VerifyError
from edgec.memory.plan import Buffer, Plan
from edgec.verify.elf_map import check_elf
from edgec.verify.toolchain import compile_rv32

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
    buffers = [b for b in plan.buffers if b.kind not in ("code", "stack")]
    return Plan(plan.target, plan.context, buffers, plan.programs)


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


def crowded(plan: Plan) -> Plan:
    memories = tuple(replace(m, capacity_bytes=9000) if m.name == "L2" else m for m in plan.target.memories)
    return replace(plan, target=replace(plan.target, memories=memories))


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
