"""Compilers are found, their errors become one sentence, and sizes of programs are those of their code."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_project import MEMORIES, MODEL_C, write_project

from edgec.errors import ToolError
from edgec.verify.rv32 import run_selftest
from edgec.verify.toolchain import compile_host, compile_rv32, find_host_compiler, find_riscv_compiler, sizes, zig


def test_cc_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "sh -x")
    assert find_host_compiler() == ["sh", "-x"]
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ToolError, match=r"CC names, no-such-compiler, is not installed"):
        find_host_compiler()


def test_rv32_cc_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RV32_CC", "sh -x")
    assert find_riscv_compiler() == ["sh", "-x"]
    monkeypatch.setenv("RV32_CC", "no-such-compiler")
    with pytest.raises(ToolError, match=r"RV32_CC names, no-such-compiler, is not installed"):
        find_riscv_compiler()
    monkeypatch.delenv("RV32_CC")
    assert find_riscv_compiler() == zig()


def test_ziglang_is_the_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert find_host_compiler() == zig()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match="no C compiler found"):
        find_host_compiler()
    with pytest.raises(ToolError, match="pip install ziglang"):
        zig()


@pytest.mark.parametrize("build", [compile_host, compile_rv32])
def test_the_first_error_is_reported(tmp_path: Path, build: Callable[[Path, Path], Path]) -> None:
    broken = write_project(tmp_path / "broken", MODEL_C.replace("*POSITION += 1;", "*POSITION += missing;"))
    with pytest.raises(ToolError, match=r"cannot build .*model\.c:\d+:\d+: error: .*missing"):
        build(broken, tmp_path / "out")


@pytest.mark.parametrize("compiler", ["zig", "riscv64-unknown-elf-gcc"])
def test_double_on_rv32_is_refused_by_name(tmp_path: Path, compiler: str) -> None:
    if compiler != "zig" and shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    command = zig() if compiler == "zig" else [compiler]
    doubles = write_project(tmp_path / "doubles", MODEL_C.replace("(float)token + 0.1f", "(float)(token * 0.1)"))
    with pytest.raises(ToolError, match=r"undefined (symbol: |reference to `)__(floatsidf|muldf3)"):
        compile_rv32(doubles, tmp_path / "out.elf", compiler=command)


@pytest.mark.parametrize("target", ["x86_64-linux-musl", "aarch64-linux-musl"])
@pytest.mark.parametrize("source", ["arenas.S", "hal_host.c"])
def test_hosts_of_both_kinds_are_understood(project: Path, tmp_path: Path, target: str, source: str) -> None:
    """What is not this machine cannot be run here; the parts that depend on it must compile."""
    strict = ["-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-std=c11", "-DEDGEC_VERIFY"]
    command = [*zig(), "-target", target, *strict, "-I", str(project), "-c", str(project / source)]
    subprocess.run([*command, "-o", str(tmp_path / "out.o")], check=True)


def test_sizes_leave_the_arenas_out(project: Path, tmp_path: Path) -> None:
    elf = compile_rv32(project, tmp_path / "model.elf")
    found = sizes(elf)
    assert found.arenas == {"L1": 1040, "L2": 96, "MRAM": 4096}
    assert 2000 < found.code_bytes < 8000
    assert found.data_bytes == 0
    assert found.stack_bytes == 16384
    assert 0 < found.bss_bytes < 1000


def test_an_arena_without_image_takes_no_room_in_the_file(tmp_path: Path) -> None:
    memories = [{**MEMORIES[0], "bytes": 64 << 20}, *MEMORIES[1:]]
    big = write_project(tmp_path / "big", memories=memories)
    assert sizes(compile_rv32(big, tmp_path / "model.elf")).arenas["L1"] == 64 << 20
    assert (tmp_path / "model.elf").stat().st_size < 100_000
    assert compile_host(big, tmp_path / "model").stat().st_size < 200_000


@pytest.mark.parametrize("build", [compile_host, compile_rv32])
def test_changed_images_are_built_in(tmp_path: Path, build: Callable[[Path, Path], Path]) -> None:
    project = write_project(tmp_path / "project")
    before = build(project, tmp_path / "model").read_bytes()
    image = project / "mram.bin"
    image.write_bytes(b"\x55" * image.stat().st_size)
    after = build(project, tmp_path / "model").read_bytes()
    assert b"\x55" * 64 in after
    assert b"\x55" * 64 not in before


def test_changed_headers_are_built_in(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project")
    compile_host(project, tmp_path / "model")
    header = project / "kernels/axpy/axpy.h"
    header.write_text(header.read_text() + "#error this is new\n")
    with pytest.raises(ToolError, match="this is new"):
        compile_host(project, tmp_path / "model")


@pytest.mark.parametrize("build", [compile_host, compile_rv32])
def test_a_fork_with_the_arguments_of_another_kernel_is_refused(
    tmp_path: Path, build: Callable[[Path, Path], Path]
) -> None:
    wrong = MODEL_C.replace("HAL_FORK(edgec_axpy, &args)", "HAL_FORK(edgec_axpy, (const hal_record *)&args)")
    with pytest.raises(ToolError, match="pointer type mismatch"):
        build(write_project(tmp_path / "wrong", wrong), tmp_path / "model")


def test_the_demo_continues_tokens(project: Path, tmp_path: Path) -> None:
    program = compile_host(project, tmp_path / "model")

    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run([program, *arguments], check=False, capture_output=True, text=True, timeout=10)
        return done.returncode, done.stdout

    assert run("--selftest") == (0, "PASS: 2 tokens and the last logits agree bit for bit\n")
    assert run("1", "2") == run() == (0, "3 3 3 3 3 3 3 \nthe context is full\n")
    assert run("1", "16") == (2, "not a token id: 16\n")
    assert run("-1") == (2, "not a token id: -1\n")
    assert run(*"123456789") == (2, "the context is too short for the prompt; from: 9\n")


def test_the_selftest_fails_on_both_when_it_must(tmp_path: Path) -> None:
    wrong = write_project(tmp_path / "wrong", golden_token=5)
    program = compile_host(wrong, tmp_path / "model")
    done = subprocess.run([program, "--selftest"], check=False, capture_output=True, text=True, timeout=10)
    said = "FAIL: new token 0 is 3, golden is 5\n"
    assert (done.returncode, done.stdout) == (4, said)
    assert run_selftest(wrong, tmp_path) == (4, said)


def test_the_selftest_passes_at_boot(project: Path, tmp_path: Path) -> None:
    assert run_selftest(project, tmp_path) == (0, "PASS: 2 tokens and the last logits agree bit for bit\n")
