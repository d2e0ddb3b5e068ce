"""The kernels of Siracusa's cores on the emulated board, with their XpulpV2 instructions, called like their twins."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from kernel_library import ROOT, ZIG, Args

from edgec.emit.project import chip_variants, kernel_sources
from edgec.emit.riscv import chip_flags
from edgec.emit.templates import render
from edgec.ops import kernel, kernel_module, kernels
from edgec.resources import folder
from edgec.target import Target, load_target
from edgec.verify.board import Board

MAIN = Path(__file__).with_name("board_main.c")
NAMES = [k.name for k in kernels()]
# Translated, all of them are more than a jump reaches: a program of the packed matmuls, one of the rest.
PROGRAMS = [[n for n in NAMES if (kernel_module(n) == "matmul_w4a8_nm") == packed] for packed in (False, True)]
NONE = 0xFFFF_FFFF
READ_AHEAD = 16  # bytes behind an operand that the accelerator may read


def compile_kernels(target: Target, to: Path) -> Path:
    """One object of all kernels in the target's form, whose forks have as many cores as the program around it."""
    paths = [str(p) for p in ROOT.glob("*/*.c")]
    out, header = to / "kernels.o", to / "board_cores.h"
    header.write_text("extern const unsigned board_cores;\n")
    cores = ["-UEDGEC_CORES", "-DEDGEC_CORES=board_cores", "-include", str(header)]
    command = [
        *ZIG,
        *_flags(target),
        *cores,
        "-r",
        "-nostdlib",
        *kernel_sources(paths, chip_variants(target)),
        "-o",
        str(out),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return out


def with_cores(cores: int) -> Target:
    """Siracusa with so many worker cores."""
    target = load_target("siracusa")
    return replace(target, engines=(replace(target.engines[0], cores=cores),))


def compile_program(target: Target, objects: Path, names: list[str], to: Path) -> Path:
    """The test's program: runtime, main and the named kernels."""
    templates, hal = folder("templates"), folder("templates") / target.runtime.hal
    arenas = [{"name": n, "symbol": n.lower(), "bytes": 1, "image": None, "writable": True} for n in ("L1", "TILE")]
    cores = target.engines[0].cores
    runtime = target.runtime
    stacks = {"main": 4096, "worker": runtime.worker_stack_bytes, "cores": cores, "start": 0x3C000}
    chip = [m for m in target.memories if m.base is not None]
    l3 = {"name": "L3", "base": 0x8000_0000, "bytes": 0, "image_bytes": 0}
    levels = {"stack_level": "L1", "program": "L2", "code": "TILE"}
    script = render("siracusa/link.ld.j2", memories=arenas, chip=chip, stacks=stacks, l3=l3, near=None, **levels)
    (to / "link.ld").write_text(script)
    table = "".join(f"    {{edgec_{n}, {int(kernel(n).directed)}}},\n" for n in names)
    declared = "".join(f"void edgec_{n}(const void *args, uint32_t core, uint32_t n_cores);\n" for n in names)
    entry = "const struct {\n    hal_kernel kernel;\n    uint32_t directed;\n} board_kernels[]"
    counted = "extern const unsigned board_cores;\nconst unsigned board_cores = EDGEC_CORES;\n"
    (to / "table.c").write_text(f'#include "hal.h"\n{declared}{counted}{entry} = {{\n{table}}};\n')
    sources = [str(MAIN), str(to / "table.c"), str(hal / "hal.c"), str(hal / "crt0.S"), str(objects)]
    link = ["-nostdlib", "-static", "-Wl,--gc-sections,--no-eh-frame-hdr", "-T", str(to / "link.ld")]
    out = to / "kernels.elf"
    command = [*ZIG, *_flags(target), f"-I{templates}", f"-I{hal}", *link, *sources, "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return out


def _flags(target: Target) -> list[str]:
    folders = [*(path for path in sorted(ROOT.iterdir()) if path.is_dir()), folder("templates") / target.runtime.hal]
    includes = [f"-I{path}" for path in folders]
    sections = ["-ffunction-sections", "-fomit-frame-pointer", "-g0", "-ffp-contract=off", "-fno-strict-aliasing"]
    return [*chip_flags(target), "-O2", "-std=c11", *sections, *includes]


class BoardKernels:
    """Boards with the programs; a new board behind one that has failed.

    late: DMA and accelerator work when somebody asks for the result, else at once.
    """

    def __init__(self, elves: Sequence[Path], cores: int, shuffle: int | None = None, late: bool = True) -> None:
        self.elves, self.cores, self.shuffle, self.late = elves, cores, shuffle, late
        self.boards: dict[int, Board] = {}

    def call(self, name: str, args: Args, same: dict[str, str] | None = None, skew: int = 1) -> Args:
        """Run a kernel on copies of the arrays; returns the arrays afterwards. See kernel_library.call."""
        params, near, far = kernel(name).params, bytearray(), bytearray()
        words: list[bytes] = []
        pointers = streamed = 0
        places: dict[str, tuple[int, int]] = {}
        for i, p in enumerate(params):
            value = args[p.name]
            if not p.is_pointer:
                words.append(struct.pack("<f" if p.kind == "f32" else "<I", value))
                continue
            pointers |= 1 << i
            if value is None:
                words.append(struct.pack("<I", NONE))
                continue
            arena = far if p.name in kernel(name).streamed else near
            streamed |= (arena is far) << i
            if same and p.name in same:
                start = places[same[p.name]][0]
            else:
                arena += bytes(-len(arena) % 32 + (skew if p.dtype == "i8" and not kernel(name).engine else 0))
                start = len(arena)
                raw = np.ascontiguousarray(value).tobytes()
                arena += raw + bytes(READ_AHEAD)
                places[p.name] = start, len(raw)
            words.append(struct.pack("<I", start))
        program = next(i for i, names in enumerate(PROGRAMS) if name in names)
        header = struct.pack(
            "<2I2Q2I", PROGRAMS[program].index(name), len(params), pointers, streamed, len(near), len(far)
        )
        order = list(reversed(range(self.cores)))
        board = self.boards.pop(program, None)
        if board is None:
            late = {"late_dma": self.late, "late_neureka": self.late}
            board = Board(self.elves[program], self.cores, order=order, shuffle=self.shuffle, **late)
        board.input += header + b"".join(words) + near + far
        board.run(60)
        answer = bytes(board.output)
        del board.output[:]
        assert len(answer) == len(near), f"{name}: {board.printed}"
        self.boards[program] = board
        return {
            p.name: np.frombuffer(answer, np.uint8)[places[p.name][0] :][: places[p.name][1]].view(args[p.name].dtype)
            if p.name in places and p.name not in kernel(name).streamed
            else args[p.name]
            for p in params
        }


def programs(to: Path, cores: Sequence[int]) -> dict[int, BoardKernels]:
    """A board for each number of cores."""
    objects = compile_kernels(load_target("siracusa"), to)
    found = {}
    for n in cores:
        folders = [to / f"{n}-{i}" for i in range(len(PROGRAMS))]
        for path in folders:
            path.mkdir()
        parts = zip(PROGRAMS, folders, strict=True)
        found[n] = BoardKernels([compile_program(with_cores(n), objects, names, path) for names, path in parts], n)
    return found
