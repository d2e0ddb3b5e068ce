"""kernels/neureka for the host, and its job struct."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from kernel_library import ROOT, STRICT
from numpy.typing import NDArray

from edgec.neureka.job import OUTPUTS, Job

FOLDER = ROOT / "neureka"
SOURCES = [
    *(FOLDER / f"neureka_{name}.c" for name in ("model", "jobs_generic")),
    Path(__file__).with_name("registers_shim.c"),
]
CHIP_SOURCES = [*SOURCES, FOLDER / "neureka_jobs_neureka.c"]


class CJob(ctypes.Structure):
    """edgec_neureka_job."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "w", "y", "scale", "bias")),
        *((name, ctypes.c_uint32) for name in ("cin", "cout", "height", "width")),
        *((name, ctypes.c_uint32) for name in ("x_pixel", "x_row", "y_pixel", "y_row")),
        ("offset", ctypes.c_int32),
        *((name, ctypes.c_uint8) for name in ("filter", "bits", "x_signed", "output", "scale_bits", "shift")),
        *((name, ctypes.c_uint8) for name in ("prefetch", "border")),
    )


def compile_neureka(compiler: tuple[str, ...], to: Path) -> ctypes.CDLL:
    """The model and the registers as a shared library."""
    out = to / "neureka.so"
    command = [*compiler, *STRICT, f"-I{FOLDER}", "-fPIC", "-shared", "-o", str(out), *map(str, SOURCES)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return ctypes.CDLL(str(out))


def c_job(job: Job, **addresses: int) -> CJob:
    """The job for C; addresses replace the job's own ones."""
    fields: dict[str, Any] = {name: getattr(job, name) for name, _ in CJob._fields_ if name != "filter"}
    fields["filter"] = 3 if job.mode == "3x3" else 1
    fields["output"] = list(OUTPUTS).index(job.output)
    fields |= addresses
    return CJob(**{name: value or None if name in ("scale", "bias") else value for name, value in fields.items()})


def c_registers(library: ctypes.CDLL, job: Job) -> list[int]:
    """What edgec_neureka_registers makes of the job."""
    words = (ctypes.c_uint32 * 24)()
    library.registers_of(ctypes.byref(c_job(job)), words)
    return list(words)


def address(array: NDArray[Any]) -> int:
    """Where an array's bytes are."""
    assert array.flags.c_contiguous
    return int(array.ctypes.data)


def empty_y(job: Job) -> NDArray[np.uint8]:
    """Memory for the outputs, gaps included, on an int32's alignment, with a pattern in it."""
    return np.full(job.y_bytes + 3 & ~3, 0xA5, np.uint8)
