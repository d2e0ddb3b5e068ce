"""Runs an emitted project as the program for Siracusa, on an emulated board with all its cores and devices.

What the plan has in L3 begins in the board's HyperFlash, from which the program copies it to HyperRAM.
"""

from __future__ import annotations

from pathlib import Path

from edgec.errors import VerifyError
from edgec.target import Target
from edgec.verify.board import Board
from edgec.verify.emulated import EmulatedBackend
from edgec.verify.toolchain import compile_chip

SEED = 1  # of the turns' lengths: a run can be repeated


class SiracusaBackend(EmulatedBackend):
    """The chip's own ELF: its kernels, runtime and linker script.

    late    DMA and accelerator work as late as they can, and cores take short turns by chance: the order of things
            least like the simulator's
    count   count instructions exactly, for each core
    traced  build with trace calls; without, `trace` is never called
    seconds how long one command may take
    """

    name = "the Siracusa program"

    def __init__(
        self,
        project_dir: Path,
        target: Target,
        build_dir: Path,
        *,
        late: bool = True,
        count: bool = False,
        traced: bool = True,
        optimize: str = "-O2",
        seconds: float = 3600.0,
    ) -> None:
        build_dir.mkdir(parents=True, exist_ok=True)
        self.elf = build_dir / f"verify_siracusa{'_traced' * traced}.elf"
        defines = ["EDGEC_VERIFY"] + ["EDGEC_TRACE"] * traced
        image = project_dir / "l3.bin"
        flash = image.read_bytes() if image.exists() else b""
        defines += ["EDGEC_L3_FROM_FLASH"] * bool(flash)
        compile_chip(project_dir, target, self.elf, defines, "verify_main.c", optimize)
        cores = target.engines[0].cores
        order = list(reversed(range(cores))) if late else None
        shuffle = SEED if late else None
        self.board = Board(
            self.elf, cores, order=order, shuffle=shuffle, late_dma=late, late_neureka=late, count=count, flash=flash
        )
        self._stacks = target.runtime.stack_bytes, target.runtime.worker_stack_bytes
        super().__init__(self.board, seconds)

    def instructions(self) -> list[int]:
        """Instructions of each core so far; needs count=True."""
        return self.board.instructions

    def stack_high_water(self) -> list[int]:
        """The most stack bytes that each core has used so far; VerifyError if one has used all that it has."""
        used = [found or 0 for found in self.board.stack_high_water()]
        for core, size in enumerate(used):
            if size >= (self._stacks[0] if core == 0 else self._stacks[1]):
                raise VerifyError(f"{self.name}: core {core} has used all {size} B of its stack.")
        return used
