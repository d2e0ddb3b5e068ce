"""One name finds everything: every op has its folder, header and kernel, and C's structs are the ops' parameters."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import pytest
from kernel_library import RISCV, ROOT, STRICT, STRUCTURES, ZIG, compilers, sources

import edgec.ops
from edgec.ops.op import Param

C_TYPES = {
    "f32": "float",
    "f16": "uint16_t",
    "i8": "int8_t",
    "u8": "uint8_t",
    "i16": "int16_t",
    "i32": "int32_t",
    "u32": "uint32_t",
}
FOLDERS = sorted({op.infer.__module__.rpartition(".")[2] for op in map(edgec.ops.find, edgec.ops.names())})


def _c_type(p: Param) -> str:
    if not p.is_pointer:
        return C_TYPES[p.kind]
    return f"{'const ' if p.kind == 'in' else ''}{C_TYPES[p.dtype]} *"


@pytest.mark.parametrize("folder", FOLDERS)
def test_folder(folder: str) -> None:
    """kernels/<op>/ holds <op>.h, with its contract on top, and <op>_generic.c."""
    header = (ROOT / folder / f"{folder}.h").read_text()
    assert header.startswith("/* "), f"{folder}.h starts with its contract"
    assert (ROOT / folder / f"{folder}_generic.c").exists()


def test_no_folder_without_an_op() -> None:
    """Nothing is left of an op that is gone; beside ops are what kernels share and the accelerator's model."""
    assert sorted(p.name for p in ROOT.iterdir() if p.is_dir()) == sorted([*FOLDERS, "common", "neureka"])


def _assertions() -> str:
    """C that compiles only if every struct has the ops' fields: types, order, and nothing else."""
    lines = [f'#include "{path.name}"' for path in sorted(ROOT.glob("*/*.h"))]
    for k in edgec.ops.kernels():
        struct = f"edgec_{k.name}_args"
        lines.append(f"void (*check_{k.name})(const {struct} *, uint32_t, uint32_t) = edgec_{k.name};")
        lines.append(f'_Static_assert(sizeof({struct}) == {ctypes.sizeof(STRUCTURES[k.name])}, "{struct}");')
        for p in k.params:
            offset = getattr(STRUCTURES[k.name], p.name).offset
            lines.append(f'_Static_assert(offsetof({struct}, {p.name}) == {offset}, "{struct}.{p.name}");')
            same = f"_Generic((({struct} *)0)->{p.name}, {_c_type(p)}: 1, default: 0)"
            lines.append(f'_Static_assert({same}, "{struct}.{p.name}");')
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("compiler", sorted(compilers()))
def test_structs(compiler: str, tmp_path: Path) -> None:
    """Names, order, offsets and types of all fields, checked by the compiler."""
    check = tmp_path / "check.c"
    check.write_text(_assertions())
    paths = [f"-I{p}" for p in sorted(ROOT.iterdir()) if p.is_dir()]
    command = [*compilers()[compiler], "-std=c11", *paths, "-c", "-o", str(tmp_path / "check.o"), str(check)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert not done.returncode, done.stderr


@pytest.mark.parametrize("target", [*sorted(compilers()), "riscv"])
def test_no_warnings(target: str, tmp_path: Path) -> None:
    """All kernels compile strictly, on RISC-V against nothing but memcpy and memset."""
    command = [*(ZIG if target == "riscv" else compilers()[target]), *STRICT]
    if target == "riscv":
        (tmp_path / "string.h").write_text(
            "#include <stddef.h>\nvoid *memcpy(void *, const void *, size_t);\nvoid *memset(void *, int, size_t);\n"
        )
        command += [*RISCV, f"-I{tmp_path}"]
    for source in sources():
        done = subprocess.run(
            [*command, "-c", "-o", str(tmp_path / "out.o"), str(source)], check=False, capture_output=True, text=True
        )
        assert not done.returncode and not done.stderr, done.stderr


def test_freestanding() -> None:
    """No other headers, no memory from a heap, no state."""
    allowed = {"float.h", "stddef.h", "stdint.h", "string.h"}
    for path in sorted(ROOT.glob("*/*.[ch]")):
        text = path.read_text()
        assert set(re.findall(r"#include <(.*)>", text)) <= allowed, path
        assert not re.search(r"\b(malloc|free|double|long|printf|sqrtf|expf)\b\s*\(?", _without_comments(text)), path
        assert not re.search(r"^(static )?(?!const)\w+ \w+( = .*)?;$", _without_comments(text), re.MULTILINE), path


def _without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
