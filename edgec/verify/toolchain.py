"""Compiles an emitted project for the host or for RV32, or says in one sentence why that failed.

Both builds use the same rules: C11, no contraction of a multiply and an add into one rounding, no fast-math,
no assumptions from C's aliasing rules (the arenas are byte arrays that hold numbers of every type).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

from edgec.emit.call_blocks import NEAR
from edgec.emit.kernel_copies import COPIES
from edgec.emit.project import chip_variants, kernel_sources
from edgec.emit.riscv import chip_flags, riscv_flags
from edgec.errors import ToolError
from edgec.target import Target

NUMERICS = ("-std=c11", "-ffp-contract=off", "-fno-fast-math", "-fno-math-errno", "-fno-strict-aliasing")
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow")
SMALL = ("-g0", "-fomit-frame-pointer", "-fno-asynchronous-unwind-tables", "-ffunction-sections")
BARE = {  # of a linker, for a program without an operating system
    "gcc": ["-nostdlib", "-static", "-Wl,--gc-sections"],
    "zig": ["-nostdlib", "-static", "-Wl,--gc-sections,--no-eh-frame-hdr"],  # GNU ld makes none unasked
}
HOST_FILES = ("model.c", "arenas.S", "hal_host.c")
RV32_FILES = ("model.c", "arenas.S", "hal_rv32.c", "crt0.S")
WORKERS = 2
OBJECTS: Path | None = None  # where objects are kept from one program to the next; None: beside each program
COMPLAINT = r"error: |undefined (symbol|reference)|unrecognized option|will not fit"  # of compilers and linkers
TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class Sizes:
    """Bytes of a linked program by kind; arenas are the plan's memories by name."""

    code_bytes: int
    data_bytes: int
    bss_bytes: int
    stack_bytes: int
    arenas: dict[str, int]


def zig() -> list[str]:
    """The command line of the C compiler in the ziglang package; a ToolError if it is not installed."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or not spec.submodule_search_locations:
        raise ToolError("the compiler in the ziglang package is not installed: pip install ziglang")
    program = Path(spec.submodule_search_locations[0]) / "zig"
    # what `python -m ziglang` starts, without starting a Python for each file
    return [str(program), "cc"] if program.is_file() else [sys.executable, "-m", "ziglang", "cc"]


def find_host_compiler() -> list[str]:
    """The command line of a C compiler for this machine: $CC, gcc, clang, cc, or ziglang's; else a ToolError."""
    chosen = shlex.split(os.environ.get("CC", ""))
    if chosen:
        if shutil.which(chosen[0]) is None:
            raise ToolError(f"the compiler that CC names, {chosen[0]}, is not installed: change or unset CC")
        return chosen
    for name in ("gcc", "clang", "cc"):
        if shutil.which(name):
            return [name]
    try:
        return zig()
    except ToolError:
        raise ToolError(
            "no C compiler found (CC, gcc, clang, cc, ziglang): install one, or pip install ziglang"
        ) from None


def find_riscv_compiler() -> list[str]:
    """The command line of a C compiler for RV32: $RV32_CC, as in the emitted Makefile, or ziglang's; else a ToolError.

    $RV32_CC may be a riscv gcc, 64-bit ones included; what is not ziglang is taken for one.
    """
    chosen = shlex.split(os.environ.get("RV32_CC", ""))
    if chosen and shutil.which(chosen[0]) is None:
        raise ToolError(f"the compiler that RV32_CC names, {chosen[0]}, is not installed: change or unset RV32_CC")
    return chosen or zig()


def compile_host(
    project_dir: Path,
    out: Path,
    defines: Sequence[str] = (),
    main: str = "main.c",
    optimize: str = "-O2",
    compiler: Sequence[str] | None = None,
) -> Path:
    """Build the project's program for this machine at `out`.

    main      the file with main()
    defines   for the model, the HAL and main; kernels must not depend on any
    compiler  a command line; default: what find_host_compiler() finds
    """
    command = list(compiler) if compiler else find_host_compiler()
    return _build(command, project_dir, out, (*HOST_FILES, main), [optimize, *NUMERICS, *WARNINGS], defines, [])


def compile_rv32(
    project_dir: Path,
    out: Path,
    defines: Sequence[str] = (),
    main: str = "main.c",
    optimize: str = "-O2",
    float_abi: str = "f",
    compiler: Sequence[str] | None = None,
) -> Path:
    """Build the project's ELF for a bare RV32 machine at `out`, with float instructions ("f") or without ("soft").

    Nothing but the project is linked, so a kernel that needs double or 64-bit division fails here by name.
    compiler: a command line; default: what find_riscv_compiler() finds.
    """
    command = list(compiler) if compiler else find_riscv_compiler()
    dialect = _dialect(command)
    flags = [*riscv_flags(float_abi, dialect), optimize, *SMALL, *NUMERICS, *WARNINGS]
    link = [*riscv_flags(float_abi, dialect), *BARE[dialect], "-T", "link.ld"]
    return _build(command, project_dir, out, (*RV32_FILES, main), flags, defines, link)


def compile_chip(
    project_dir: Path,
    target: Target,
    out: Path,
    defines: Sequence[str] = (),
    main: str = "main.c",
    optimize: str = "-O2",
    compiler: Sequence[str] | None = None,
) -> Path:
    """Build the project's ELF for the target's own cores and HAL at `out`: the program that the chip would run.

    compiler: a command line; default: what find_riscv_compiler() finds.
    """
    command = list(compiler) if compiler else find_riscv_compiler()
    dialect, hal = _dialect(command), target.runtime.hal
    flags = [*chip_flags(target, dialect), optimize, *SMALL, *NUMERICS, *WARNINGS]
    link = [*riscv_flags(target.runtime.float_abi, dialect), *BARE[dialect], "-T", f"{hal}/link.ld"]
    copies = sorted(path.relative_to(project_dir).as_posix() for path in (project_dir / hal / COPIES).glob("*.c"))
    files = ("model.c", "arenas.S", f"{hal}/hal.c", f"{hal}/crt0.S", main, *copies)
    return _build(command, project_dir, out, files, flags, defines, link, chip_variants(target))


def sizes(elf: Path) -> Sizes:
    """Sizes of an ELF that compile_rv32 or compile_chip built.

    code_bytes is text and read-only data without the arenas, and without arguments of calls, which the plan counts
    apart; a chip's stacks lie in an arena, so there stack_bytes is 0.
    """
    kinds = {"code": 0, "data": 0, "bss": 0, "stack": 0}
    arenas: dict[str, int] = {}
    with elf.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            flags, size, name = section["sh_flags"], section["sh_size"], section.name
            if not flags & 2 or name == NEAR:  # SHF_ALLOC
                continue
            if name.startswith(".edgec."):
                arenas[name.removeprefix(".edgec.")] = size
            elif name == ".stack":
                kinds["stack"] += size
            elif not flags & 1:  # SHF_WRITE
                kinds["code"] += size
            else:
                kinds["bss" if section["sh_type"] == "SHT_NOBITS" else "data"] += size
    return Sizes(kinds["code"], kinds["data"], kinds["bss"], kinds["stack"], arenas)


def _build(
    command: Sequence[str],
    project_dir: Path,
    out: Path,
    files: Sequence[str],
    flags: Sequence[str],
    defines: Sequence[str],
    link: Sequence[str],
    variants: Collection[str] = (),
) -> Path:
    """Compile the named files and every kernel of the project, in its form for `variants`, and link them at `out`.

    The compiler runs in the project's folder and sees relative paths, so that an object does not depend on the place.
    """
    out = out.resolve()
    found = (path.relative_to(project_dir).as_posix() for path in (project_dir / "kernels").rglob("*.c"))
    kernels = [Path(path) for path in kernel_sources(found, variants)]
    folders = {path.parent.relative_to(project_dir) for path in (project_dir / "kernels").rglob("*.[ch]")}
    includes = ["-Ikernels/common", *(f"-I{path}" for path in sorted(folders))]
    # zig's cache does not see the files that .incbin names, so their bytes become part of the command.
    special = ["-I.", *(f"-D{define}" for define in defines), f"-DEDGEC_IMAGES=0x{_digest(project_dir, ['.bin'])}"]
    out.parent.mkdir(parents=True, exist_ok=True)
    if _name(command) == "ziglang":  # works on several files at a time and caches, by itself
        sources = [*files, *map(str, kernels)]
        _run([*command, *flags, *special, *includes, *link, *sources, "-o", str(out)], out.name, project_dir)
        return out
    objects = (OBJECTS or out.parent / "objects").resolve()
    objects.mkdir(parents=True, exist_ok=True)
    headers = _digest(project_dir, [".h", ".inc"]), _digest(project_dir / "kernels", [".h", ".inc"])

    def compile_one(source: Path) -> str:
        """The object of a file, made unless it exists; kernels are the same in all variants of a program."""
        own, included = ([], headers[1]) if source in kernels else (special, headers[0])
        arguments = [*command, *flags, *own, *includes, "-c", str(source)]
        key = "\0".join([*arguments, included]).encode() + (project_dir / source).read_bytes()
        made = objects / f"{source.stem}.{hashlib.sha256(key).hexdigest()[:16]}.o"
        if not made.exists():
            unfinished = made.with_suffix(f".{os.getpid()}")
            _run([*arguments, "-o", str(unfinished)], source.name, project_dir)
            unfinished.replace(made)
        return str(made)

    with ThreadPoolExecutor(WORKERS) as pool:
        objects_made = list(pool.map(compile_one, [*map(Path, files), *kernels]))
    _run([*command, *link, *objects_made, "-o", str(out)], out.name, project_dir)
    return out


def _digest(folder: Path, suffixes: Sequence[str]) -> str:
    """16 hexadecimal digits that change with the names and bytes of the folder's files of these kinds."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in suffixes):
        with path.open("rb") as file:
            digest.update(str(path.relative_to(folder)).encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _run(command: Sequence[str], what: str, folder: Path) -> None:
    """Run a compiler in a folder; its first error line becomes the ToolError."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
            env=_environment(),
        )
    except FileNotFoundError:
        raise ToolError(f"the compiler {command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise ToolError(
            f"{_name(command)} took more than {TIMEOUT_SECONDS} s for {what}: is the machine busy?"
        ) from None
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if re.search(COMPLAINT, line)] or lines
        said = errors[0] if errors else f"exit code {done.returncode}"
        raise ToolError(f"{_name(command)} cannot build {what}: {said}")


def _environment() -> dict[str, str]:
    """The environment, with a place for zig's cache where the home folder cannot hold it."""
    environment = dict(os.environ)
    if not os.access(Path.home(), os.W_OK):
        environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(Path(os.environ.get("TMPDIR", "/tmp")) / "edgec-zig-cache"))
    return environment


def _dialect(command: Sequence[str]) -> str:
    """Whose words for a RISC-V core the compiler knows; see edgec/emit/riscv.py."""
    return "zig" if _name(command) == "ziglang" else "gcc"


def _name(command: Sequence[str]) -> str:
    """What to call the compiler in a message."""
    return "ziglang" if "ziglang" in command or Path(command[0]).name == "zig" else Path(command[0]).name
