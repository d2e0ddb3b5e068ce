"""The bare-metal driver compiles strictly for the chip, and a job of constants is no more than its registers."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kernel_library import RISCV, STRICT, ZIG
from neureka_library import CHIP_SOURCES, FOLDER

PROGRAM = """
#include "neureka_driver.h"

void all(const edgec_neureka_job *job, int8_t *x, const uint8_t *w, int32_t *y);
void all(const edgec_neureka_job *job, int8_t *x, const uint8_t *w, int32_t *y) {
    edgec_neureka_open();
    edgec_neureka_start(job);
    edgec_neureka_restart((const uint8_t *)x, w, y);
    edgec_neureka_wait(1);
}
void constant(void);
void constant(void) {
    const edgec_neureka_job job = edgec_neureka_gemv((const int8_t *)0x10000000u, (const uint8_t *)0x10800000u,
                                                     (int32_t *)0x10001000u, 504, 512, 4);
    edgec_neureka_start(&job);
}
"""


def _compile(source: Path, out: Path, *more: str) -> str:
    command = [
        *ZIG,
        *STRICT,
        *RISCV,
        f"-I{FOLDER}",
        f"-I{out.parent}",
        *more,
        "-Wno-unused-command-line-argument",
        "-o",
        str(out),
        str(source),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert not done.returncode and not done.stderr, done.stderr
    return out.read_text(errors="replace")


def test_driver_compiles_for_the_chip(tmp_path: Path) -> None:
    program = tmp_path / "driver.c"
    program.write_text(PROGRAM)
    text = _compile(program, tmp_path / "driver.s", "-S")
    constant = text[text.index("constant:") : text.index(".Lfunc_end1")]
    assert "mul" not in constant and "div" not in constant and "rem" not in constant
    assert constant.count("\tsw\t") < 40  # the registers, and no job in memory
    assert ".insn" in text or "p.elw" in text


def test_model_compiles_for_the_chip(tmp_path: Path) -> None:
    for source in CHIP_SOURCES:
        _compile(source, tmp_path / "out.o", "-c")
