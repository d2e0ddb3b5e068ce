"""Flags for RISC-V cores, in the words of the compiler that gets them.

ziglang's clang names a core and its extensions, gcc the letters of an instruction set.
"""

from __future__ import annotations

from edgec.target import Target

COMPILERS = ("zig", "gcc")
ABIS = {"f": "ilp32f", "zfinx": "ilp32", "soft": "ilp32"}
ZIG = {"f": "+f", "zfinx": "+zfinx", "soft": ""}
GCC = {"f": "rv32imfc_zicsr", "zfinx": "rv32imc_zicsr_zfinx", "soft": "rv32imc_zicsr"}


def riscv_flags(float_abi: str, compiler: str = "zig") -> list[str]:
    """Flags for a bare RV32IMC core that takes floats so; see Runtime. `compiler` is one of COMPILERS."""
    if compiler == "gcc":
        core = [f"-march={GCC[float_abi]}"]
    else:
        core = ["-target", "riscv32-freestanding-none", f"-mcpu=generic_rv32+m+c+zicsr{ZIG[float_abi]}"]
    return [*core, f"-mabi={ABIS[float_abi]}", "-ffreestanding"]


def rv32_float_abi(target: Target) -> str:
    """How the generic RV32 program takes floats: as the target says, unless that is of a program of the chip's own."""
    return "f" if target.runtime.hal else target.runtime.float_abi


def chip_definitions(target: Target) -> list[str]:
    """What the target's own program is compiled with, whatever the compiler."""
    runtime, engine = target.runtime, target.engines[0]
    flags = [f"-DEDGEC_CORES={engine.cores}", f"-DEDGEC_WORKER_STACK_BYTES={runtime.worker_stack_bytes}"]
    return flags + ([f"-DEDGEC_{engine.isa.upper()}"] if engine.isa else [])


def chip_flags(target: Target, compiler: str = "zig") -> list[str]:
    """Flags for the target's own cores, beside those that every build has: instruction set, its HAL, definitions."""
    runtime = target.runtime
    return [*riscv_flags(runtime.float_abi, compiler), f"-I{runtime.hal}", *chip_definitions(target)]
