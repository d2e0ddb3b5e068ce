"""Compiles the test programs of this folder for the emulated board."""

from __future__ import annotations

import subprocess
from pathlib import Path

from edgec.resources import folder as resource
from edgec.verify.toolchain import zig

PROGRAMS = Path(__file__).parent / "programs"
DRIVERS = [f"-I{resource('templates')}", f"-I{resource('templates') / 'siracusa'}"]
FLOATS = {
    "zfinx": ["-mcpu=generic_rv32+m+c+zicsr+zfinx", "-mabi=ilp32"],
    "f": ["-mcpu=generic_rv32+m+f+c+zicsr", "-mabi=ilp32f"],
}
FLAGS = [
    "-target",
    "riscv32-freestanding-none",
    "-ffreestanding",
    "-O2",
    "-g0",
    "-ffp-contract=off",
    "-Wall",
    "-Werror",
]


def build(folder: Path, *sources: str, cores: int = 8, floats: str = "zfinx", text: str = "") -> Path:
    """An ELF of named files, or of C text, with the start code and the runtime."""
    name = f"{Path(sources[0]).stem if sources else 'text'}-{cores}-{floats}"
    files = [str(PROGRAMS / source) for source in ("start.S", "runtime.c", *sources)]
    if text:
        (folder / f"{name}.c").write_text('#include "board.h"\n' + text)
        files.append(str(folder / f"{name}.c"))
    out = folder / f"{name}.elf"
    link = ["-nostdlib", "-static", "-T", str(PROGRAMS / "link.ld"), f"-I{PROGRAMS}", *DRIVERS, f"-DCORES={cores}"]
    subprocess.run([*zig(), *FLAGS, *FLOATS[floats], *link, *files, "-o", str(out)], check=True)
    return out
