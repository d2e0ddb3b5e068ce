"""The emitted program compiles with a plain riscv gcc: by edgec, by make and by CMake, to the reference's bits."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_models

from edgec.artifact import Artifact
from edgec.emit.project import chip_variants, kernel_sources
from edgec.emit.riscv import chip_flags
from edgec.errors import ToolError
from edgec.target import load_target, target_path
from edgec.verify.board import Board
from edgec.verify.chain import verify
from edgec.verify.toolchain import NUMERICS, WARNINGS, compile_chip

GCC = "riscv64-unknown-elf-gcc"
PASS = "PASS: 8 tokens and the last logits agree bit for bit\n"
pytestmark = pytest.mark.skipif(shutil.which(GCC) is None, reason=f"{GCC} is not installed")


@pytest.fixture(autouse=True)
def gcc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RV32_CC", GCC)
    yield


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    assert "warning" not in done.stderr
    return done.stdout


def built(folder: Path, objects: Path, abi: str) -> Artifact:
    """A small model for a Siracusa that takes floats so, of which a matmul runs on the accelerator."""
    target = folder / "target.toml"
    target.write_text(target_path("siracusa").read_text().replace('float_abi = "zfinx"', f'float_abi = "{abi}"'))
    source = tiny_models.checkpoint(tiny_models.config(hidden_dim=64, head_dim=16))
    return tiny_models.built(source, folder / "out", objects, target, tiny_models.recipe(bits=8))


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory, objects: Path) -> Artifact:
    """For cores with float registers. Not to be changed."""
    return built(tmp_path_factory.mktemp("f"), objects, "f")


def boots(elf: Path, artifact: Artifact) -> bool:
    """Whether the self-test passes when the emulated board starts the program."""
    board = Board(elf, artifact.plan.target.engines[0].cores)
    board.run(300)
    return (board.exit_code, board.printed) == (0, PASS)


def test_every_kernel_of_the_chip_compiles_clean(tmp_path: Path) -> None:
    """Inline assembly included: gcc's limit of operands and its assembler."""
    target, root = load_target("siracusa"), Path(__file__).parents[2]
    flags = [f for f in chip_flags(target, "gcc") if "zfinx" not in f and not f.startswith("-mabi")]
    kernels = kernel_sources([str(p) for p in (root / "kernels").glob("*/*.c")], chip_variants(target))
    includes = [f"-I{p}" for p in [root / "templates", root / "templates/siracusa", *(root / "kernels").iterdir()]]
    command = [GCC, "-march=rv32imfc_zicsr", "-mabi=ilp32f", *flags, "-O2", *NUMERICS, *WARNINGS, *includes]
    for kernel in kernels:
        run([*command, "-c", kernel, "-o", str(tmp_path / "kernel.o")], tmp_path)


def test_floats_in_registers_have_the_same_bits(floats: Artifact) -> None:
    found = verify(floats, ["siracusa", "rv32"])["backends"]
    assert {f["mismatches"] for f in found.values()} == {0}
    assert all(f["tensors"] > 100 for f in found.values())
    assert any(step.op.endswith("neureka_1x1") for step in floats.plan.programs["decode"].steps)


def test_soft_floats_have_the_same_bits(tmp_path: Path, objects: Path) -> None:
    assert verify(built(tmp_path, objects, "soft"), ["siracusa"])["backends"]["siracusa"]["mismatches"] == 0


def test_zfinx_works_or_is_refused(tmp_path: Path, objects: Path) -> None:
    """gcc 12 takes the name, and would silently call functions for floats."""
    artifact = built(tmp_path, objects, "zfinx")
    version = int(re.match(r"\d+", run([GCC, "-dumpversion"], tmp_path))[0])  # type: ignore[index]
    if version < 13:
        with pytest.raises(ToolError, match=r"gcc 12 has no zfinx.* take gcc 13 or later"):
            compile_chip(artifact.project, artifact.plan.target, tmp_path / "model.elf")
    else:
        assert verify(artifact, ["siracusa"])["backends"]["siracusa"]["mismatches"] == 0


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make(floats: Artifact, tmp_path: Path) -> None:
    """With the emitted flags and those of verification, by the documented command."""
    project = Path(shutil.copytree(floats.project, tmp_path / "project"))
    run(["make", "siracusa", "rv32", f"RV32_CC={GCC} -Wconversion -Wshadow"], project)
    assert boots(project / "model-siracusa.elf", floats)


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_cmake(floats: Artifact, tmp_path: Path) -> None:
    toolchain = floats.project / "siracusa" / "gcc.cmake"
    run(["cmake", "-S", str(floats.project), "-B", "build", f"-DCMAKE_TOOLCHAIN_FILE={toolchain}"], tmp_path)
    run(["cmake", "--build", "build"], tmp_path)
    assert boots(tmp_path / "build" / "model-siracusa.elf", floats)
