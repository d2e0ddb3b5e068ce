"""The emitted project: the same bytes every time, clean under several compilers, its self-test passes everywhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import tiny_models
from elftools.elf.elffile import ELFFile

from edgec.artifact import Artifact
from edgec.emit.project import fnv1a
from edgec.errors import TargetError
from edgec.verify.rv32 import run_selftest
from edgec.verify.toolchain import compile_chip, zig

PASS = "PASS: 8 tokens and the last logits agree bit for bit\n"


@pytest.fixture
def project(artifact: Artifact, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact.project, tmp_path / "project"))


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    assert "warning" not in done.stderr
    return done.stdout


def test_the_same_bytes_every_time(artifact: Artifact, tmp_path: Path, objects: Path) -> None:
    source = tiny_models.checkpoint(tiny_models.config())
    again = tiny_models.built(source, tmp_path / "out", objects, artifact.path / "target.toml")
    for path in sorted(p.relative_to(artifact.path) for p in artifact.path.rglob("*") if p.is_file()):
        if path.name not in ("local.json", "verification.json"):
            assert (again.path / path).read_bytes() == (artifact.path / path).read_bytes(), path


def test_no_file_knows_a_path_of_this_machine(artifact: Artifact) -> None:
    for path in artifact.path.rglob("*"):
        if path.is_file() and path.name != "local.json":
            assert b"/tmp/" not in path.read_bytes(), path


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("compiler", ["gcc", "clang", "zig"])
def test_make_check(project: Path, compiler: str) -> None:
    """With the flags of the emitted Makefile, and the stricter ones of verification added."""
    if compiler != "zig" and shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    command = " ".join(zig()) if compiler == "zig" else compiler
    assert PASS in run(["make", f"CC={command} -Wconversion -Wshadow", "check"], project)


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_cmake_and_ctest(project: Path) -> None:
    run(["cmake", "-S", ".", "-B", "build"], project)
    run(["cmake", "--build", "build"], project)
    assert "100% tests passed" in run(["ctest", "--test-dir", "build"], project)


def test_the_selftest_passes_on_rv32(project: Path, tmp_path: Path) -> None:
    assert run_selftest(project, tmp_path / "build") == (0, PASS)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_selftest_notices_a_changed_weight(project: Path, artifact: Artifact) -> None:
    home = artifact.meta["constants"]["model.norm.weight"]
    path = project / f"{home['level'].lower()}.bin"
    data = bytearray(path.read_bytes())
    data[home["offset"] + 3] ^= 0x80
    path.write_bytes(data)
    done = subprocess.run(["make", "check"], cwd=project, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "FAIL" in done.stdout


def test_arenas_are_the_plans_and_guarded(artifact: Artifact) -> None:
    header = (artifact.project / "model.h").read_text()
    for memory in artifact.plan.target.memories:
        used = -(-artifact.plan.arena_bytes(memory.name) // 16) * 16
        if used:
            assert re.search(rf"#define EDGEC_{memory.name}_BYTES {used}u?\b", header)
    assert artifact.meta["provenance"]["plan_sha256"] in header
    assert "malloc" not in (artifact.project / "model.c").read_text()


def test_only_called_kernels_are_in_the_project(artifact: Artifact) -> None:
    ops = {s.op for p in artifact.plan.programs.values() for s in p.steps}
    folders = {p.name for p in (artifact.project / "kernels").iterdir()}
    assert folders == ops | {"common"}


def test_fnv1a() -> None:
    assert fnv1a(b"") == 0x811C9DC5
    assert fnv1a(b"foobar") == 0xBF9CF968


def test_a_call_without_run_time_rows_compiles_clean(tmp_path: Path, objects: Path) -> None:
    """Chunk 1 and context 1: helpers that nobody calls would be warnings."""
    source = tiny_models.checkpoint(tiny_models.config(n_layers=1))
    made = tiny_models.built(source, tmp_path / "out", objects, made=tiny_models.recipe(context=1, chunk=1))
    assert run_selftest(made.project, tmp_path / "build")[0] == 0


def with_link(text: str) -> str:
    link = '[[link]]\nfrom = "L3"\nto = "L1"\nchannel = "HyperBus"\nbytes_per_cycle = 1\n'
    link += "setup_cycles = 1\nmax_bytes = 9999\n"
    return text.replace("[[engine]]", f"{link}\n[[engine]]", 1)


def test_a_link_that_the_chips_program_cannot_use(tmp_path: Path, objects: Path) -> None:
    target = tiny_models.target_file(tmp_path / "t.toml", with_link)
    with pytest.raises(
        TargetError, match="siracusa has a link L3>L1, but the program of siracusa can move what is in L3"
    ):
        tiny_models.built(tiny_models.checkpoint(tiny_models.config()), tmp_path / "out", objects, target)


def test_an_image_off_the_chip_is_no_segment_of_its_program(tmp_path: Path, objects: Path) -> None:
    target = tiny_models.target_file(tmp_path / "t.toml", L1=6000, weights=["L3"])
    artifact = tiny_models.built(tiny_models.checkpoint(tiny_models.config()), tmp_path / "out", objects, target)
    assert "-DEDGEC_L3_FROM_FLASH" in (artifact.project / "README.md").read_text()
    image = (artifact.project / "l3.bin").read_bytes()
    elf = compile_chip(artifact.project, artifact.plan.target, tmp_path / "x.elf", ["EDGEC_L3_FROM_FLASH"])
    with elf.open("rb") as file:
        loaded = [s["p_vaddr"] for s in ELFFile(file).iter_segments("PT_LOAD")]
        names = {s.name: s["st_value"] for s in ELFFile(file).get_section_by_name(".symtab").iter_symbols()}
    assert max(loaded) < 0x80000000 == names["edgec_l3"] == names["l3_start"]
    assert names["l3_image_end"] - names["l3_start"] == len(image) > 1000
    assert image[:64] not in elf.read_bytes()
