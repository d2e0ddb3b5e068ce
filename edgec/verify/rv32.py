"""Runs an emitted project as a bare RV32 program in an emulator, with float instructions or without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgec.errors import VerifyError
from edgec.verify.emulated import EmulatedBackend
from edgec.verify.rv32_machine import Machine
from edgec.verify.toolchain import compile_rv32

MODEL_CALLS = ("model_prefill", "model_decode", "model_encode")


class Rv32Backend(EmulatedBackend):
    """The project's C, compiled for RV32 and run in an emulator that traps every access outside its memories.

    count    count instructions exactly; 20 to 50 times slower
    counted  functions whose instructions are counted, with what they call
    float_abi   "f" or "soft"
    traced   build with trace calls, which cost instructions; without, `trace` is never called
    seconds  how long one command may take
    """

    name = "the RV32 program"

    def __init__(
        self,
        project_dir: Path,
        build_dir: Path,
        *,
        count: bool = False,
        counted: Sequence[str] = MODEL_CALLS,
        traced: bool = True,
        optimize: str = "-O2",
        seconds: float = 3600.0,
        float_abi: str = "f",
    ) -> None:
        build_dir.mkdir(parents=True, exist_ok=True)
        self.elf = build_dir / f"verify_rv32{'_traced' * traced}.elf"
        defines = ["EDGEC_VERIFY"] + ["EDGEC_TRACE"] * traced
        compile_rv32(project_dir, self.elf, defines, "verify_main.c", optimize, float_abi)
        self._machine = Machine(self.elf, counted if count else ())
        self._counts = count
        super().__init__(self._machine, seconds)

    def instructions(self) -> int:
        """Instructions that the counted functions have executed so far; needs count=True."""
        if not self._counts:
            raise ValueError("instructions are only counted by an Rv32Backend made with count=True")
        return self._machine.instructions

    def stack_high_water(self) -> int:
        """The largest number of stack bytes in use at any time so far, main and the HAL included."""
        return self._machine.stack_high_water()


def run_selftest(project_dir: Path, build_dir: Path, seconds: float = 3600.0) -> tuple[int, str]:
    """Build the project with its own main program, boot it, and return its exit code and what it printed."""
    build_dir.mkdir(parents=True, exist_ok=True)
    machine = Machine(compile_rv32(project_dir, build_dir / "model.elf"))
    machine.run(seconds)
    if machine.exit_code is None:
        raise VerifyError("the RV32 program waits for input during its self-test")
    return machine.exit_code, machine.printed
