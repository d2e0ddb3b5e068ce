"""Assembles and links text at fixed addresses with ziglang's clang, in a temporary folder that keeps nothing."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from elftools.elf.elffile import ELFFile

from edgec.errors import ToolError
from edgec.verify.board.symbols import read_symbols
from edgec.verify.toolchain import zig

TARGET = ("-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+f+c+zicsr", "-mabi=ilp32f")


@lru_cache(maxsize=8)  # several boards may run one program
def assemble(text: str, address: int, symbols: tuple[tuple[str, int], ...]) -> tuple[bytes, Mapping[str, int]]:
    """(code, addresses of all labels) of assembly text placed at `address`; `symbols` are addresses outside it."""
    with tempfile.TemporaryDirectory(prefix="edgec-board-") as name:
        folder = Path(name)
        (folder / "text.S").write_text(text)
        known = "\n".join(f"{symbol} = {value:#x};" for symbol, value in symbols)
        script = f"ENTRY({address:#x}) SECTIONS {{ . = {address:#x}; .text : {{ KEEP(*(.text)) }} }}\n{known}\n"
        (folder / "text.ld").write_text(script)
        command = [*zig(), *TARGET, "-nostdlib", "-static", "-T", "text.ld", "text.S", "-o", "text.elf"]
        environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": name, "ZIG_LOCAL_CACHE_DIR": name}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr.strip()]
            raise ToolError(f"ziglang cannot assemble the board's translation: {errors[0]}")
        with (folder / "text.elf").open("rb") as file:
            elf = ELFFile(file)
            section = elf.get_section_by_name(".text")
            labels = {symbol.name: symbol.address for symbol in read_symbols(elf) or ()}
            return section.data(), labels
