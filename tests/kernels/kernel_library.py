"""The C kernels as a shared library for the host, called as their NumPy twins are."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.ops import kernel, kernels
from edgec.ops.op import Kernel

ROOT = Path(__file__).resolve().parents[2] / "kernels"
STRICT = (
    *("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wdouble-promotion", "-Wshadow"),
    *("-ffp-contract=off", f"-I{ROOT / 'common'}", f"-I{ROOT / 'neureka'}"),
)
RISCV = (
    *("-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+f+c+zicsr", "-mabi=ilp32f"),
    *("-ffreestanding", "-fomit-frame-pointer"),
)
NUMPY = {"f32": np.float32, "f16": np.float16, "i8": np.int8, "u8": np.uint8, "i16": np.int16, "i32": np.int32}
GUARD = 64  # bytes before and after every argument that no kernel may change
ZIG = (sys.executable, "-m", "ziglang", "cc")

Args = dict[str, Any]
Bytes = NDArray[np.uint8]


def compilers() -> dict[str, tuple[str, ...]]:
    """Command lines of the host's compilers by name: gcc where it is installed, and ziglang's clang."""
    gcc = shutil.which("gcc")
    return {**({"gcc": (gcc,)} if gcc else {}), "clang": ZIG}


def sources(isa: str = "generic") -> list[Path]:
    """All kernels: those written for an instruction set where there are such, else generic ones."""
    generic = sorted(ROOT.glob("*/*_generic.c"))
    special = [path.with_name(path.name.replace("_generic.c", f"_{isa}.c")) for path in generic]
    return [s if s.exists() else g for s, g in zip(special, generic, strict=True)]


def compile_library(compiler: tuple[str, ...], to: Path, paths: list[Path] | None = None) -> ctypes.CDLL:
    """All generic kernels, or the given ones, as one shared library."""
    out = to / "kernels.so"
    paths = sources() if paths is None else paths
    if any("_neureka" in path.name for path in paths):  # what directs the accelerator, and its model
        needed = [ROOT / "neureka" / name for name in ("neureka_model.c", "neureka_jobs_generic.c")]
        paths = [*paths, *(p for p in needed if p not in paths)]
    fork = Path(__file__).with_name("hal_fork.c")
    command = [*compiler, *STRICT, "-fPIC", "-shared", "-o", str(out), *map(str, paths), str(fork)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return ctypes.CDLL(str(out))


def structure(k: Kernel) -> type[ctypes.Structure]:
    """The argument struct, from the kernel's parameters alone."""
    kinds = {"u32": ctypes.c_uint32, "f32": ctypes.c_float}
    fields = [(p.name, ctypes.c_void_p if p.is_pointer else kinds[p.kind]) for p in k.params]
    return type(f"edgec_{k.name}_args", (ctypes.Structure,), {"_fields_": fields})


STRUCTURES = {k.name: structure(k) for k in kernels()}


@dataclass
class Guarded:
    """A copy of an array between guard bytes; `skew` moves the copy off its natural alignment."""

    memory: Bytes
    start: int
    size: int

    @classmethod
    def of(cls, array: NDArray[Any], skew: int = 0) -> Guarded:
        """Copy an array; the surroundings are 0xA5."""
        size = array.nbytes
        memory = np.full(size + 2 * GUARD + 32, 0xA5, np.uint8)
        start = GUARD + (-(memory.ctypes.data + GUARD) % 16) + skew
        memory[start : start + size] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return cls(memory, start, size)

    @property
    def address(self) -> int:
        """Where the copy begins."""
        return int(self.memory.ctypes.data) + self.start

    @property
    def bytes(self) -> Bytes:
        """The copy as it is now."""
        return self.memory[self.start : self.start + self.size]

    def intact(self) -> bool:
        """Whether all guard bytes are unchanged."""
        return bool((self.memory[: self.start] == 0xA5).all() and (self.memory[self.start + self.size :] == 0xA5).all())


def call(library: ctypes.CDLL, name: str, args: Args, n_cores: int, same: dict[str, str] | None = None) -> Args:
    """Run a C kernel, cores in descending order, on copies of the arrays; returns the arrays afterwards.

    same: argument to the argument whose memory it shares. int8 arguments are put on odd addresses. A directed
    kernel is called by core 0 alone, and forks its cores in either order.
    """
    same = same or {}
    placed: dict[str, Guarded] = {}
    for p in kernel(name).params:
        if p.is_pointer and args[p.name] is not None and p.name not in same:
            placed[p.name] = Guarded.of(args[p.name], skew=1 if p.dtype == "i8" else 0)
    for new, old in same.items():
        placed[new] = placed[old]
    values = [
        (placed[p.name].address if p.name in placed else None) if p.is_pointer else args[p.name]
        for p in kernel(name).params
    ]
    struct = STRUCTURES[name](*values)
    forks = kernel(name).directed  # by itself, on so many cores
    if forks:
        ctypes.c_uint32.in_dll(library, "edgec_test_cores").value = n_cores
    for core in [0] if forks else reversed(range(n_cores)):
        total = 1 if forks else n_cores
        library[f"edgec_{name}"](ctypes.byref(struct), ctypes.c_uint32(core), ctypes.c_uint32(total))
    for role, copy in placed.items():
        assert copy.intact(), f"{name} wrote outside of {role}"
    return {
        p.name: placed[p.name].bytes.view(args[p.name].dtype) if p.name in placed else args[p.name]
        for p in kernel(name).params
    }


def twin(name: str, args: Args) -> Args:
    """Run the NumPy twin on copies of the arrays; returns them afterwards."""
    copies = {role: v.copy() if isinstance(v, np.ndarray) else v for role, v in args.items()}
    kernel(name).run(copies)
    return copies


def assert_same(name: str, got: Args, want: Args, skip: tuple[str, ...] = ()) -> None:
    """Every array argument has the same bytes on both sides, and no float is NaN."""
    scratch = kernel(name).scratch
    for p in kernel(name).params:
        if p.is_pointer and want[p.name] is not None and p.name not in (*skip, *scratch):
            if p.dtype in ("f32", "f16"):
                assert not np.isnan(want[p.name]).any(), f"{name}: {p.name} of the twin has NaNs"
            a, b = got[p.name].view(np.uint8), want[p.name].reshape(-1).view(np.uint8)
            wrong = np.flatnonzero(a != b)
            assert not wrong.size, f"{name}: {p.name} differs in {wrong.size} of {a.size} bytes, first at {wrong[0]}"
