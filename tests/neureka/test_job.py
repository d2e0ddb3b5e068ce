"""Registers: back and forth, the C twin, known words; what the engine or the package refuses, by name."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from neureka_library import c_registers
from random_jobs import random_case

from edgec.neureka.engine import L1, NEURAL
from edgec.neureka.job import Job, JobError, fold_job, gemv_job, grids, rows_job
from edgec.neureka.limits import check_job

TILE = 0x1080_0000
GEMV = gemv_job(L1.start, TILE, L1.start + 0x1000, 504, 512, 4)
ROWS = rows_job(L1.start, TILE, L1.start + 0x10000, (11, 4), 288, 100, 4)
FOLD = fold_job(L1.start, TILE, L1.start + 0x1000, 36, 300, 4)
QUANTISED = replace(
    ROWS,
    output="int8",
    scale_bits=8,
    scale=L1.start + 0x30000,
    bias=L1.start + 0x30100,
    shift=9,
    y_pixel=100,
    y_row=400,
)


def test_registers_round_trip() -> None:
    for seed in range(300):
        job = random_case(np.random.default_rng(seed)).job
        check_job(job)
        words = job.registers()
        assert all(0 <= word < 1 << 32 for word in words)
        assert Job.from_registers(words) == job


def test_known_words() -> None:
    """A GEMV, by hand from the public driver's fields."""
    words = GEMV.registers()
    assert words[:6] == [0x400000, 0x10000000, 0x10001000, 0, 0, 0]
    assert words[6:15] == [56, 168, 0, 32, 2048, 2048, 32, 32 * 4 * 2, 0]
    assert words[15:20] == [32 << 16 | 28, 1 << 16 | 1, 3 << 16 | 3, 16 << 16 | 2, 1 << 16 | 1]
    assert words[20:23] == [0, 0xFFFF_FFF8, 0]
    assert words[23] == 3 | 1 << 9 | 1 << 10 | 1 << 15 | 2 << 21 | 1 << 26


def test_known_words_of_folded_inputs() -> None:
    """One pixel in the middle of 5 x 5, for 3 x 3 outputs; what is behind it begins 5 before the end of 8 x 8."""
    words = FOLD.registers()
    assert words[6:12] == [0, 0, 0, 32, 4 * 34, 12 * 34]
    assert words[15:21] == [2 << 16 | 8, 3 << 16 | 3, 5 << 16 | 5, 2 << 16 | 2, 1 << 16 | 1, 0x2552_0000]


def test_registers_in_c(neureka: ctypes.CDLL) -> None:
    for seed in range(100):
        job = random_case(np.random.default_rng(seed)).job
        assert c_registers(neureka, job) == job.registers()


def test_registers_refused() -> None:
    def changed(index: int, value: int) -> list[int]:
        return [value if i == index else word for i, word in enumerate(GEMV.registers())]

    for index, value, message in (
        (23, GEMV.registers()[23] | 1 << 5, "3x3 and 1x1"),  # depthwise
        (23, GEMV.registers()[23] | 1 << 14, "3x3 and 1x1"),  # accumulators from memory
        (20, 1 << 28, "register 20 is 0x10000000"),  # padding
        (13, 64, "register 13 is 0x00000040"),  # a gap between weights
    ):
        with pytest.raises(JobError, match=message):
            Job.from_registers(changed(index, value))
    with pytest.raises(JobError, match="24 registers, not 23"):
        Job.from_registers(GEMV.registers()[1:])


@pytest.mark.parametrize("job", [GEMV, ROWS, FOLD, QUANTISED, replace(GEMV, w=L1.start + 0x4000, cout=64)])
def test_good_jobs(job: Job) -> None:
    check_job(job)


REFUSED: list[tuple[Job, dict[str, Any], str]] = [
    (GEMV, {"mode": "5x5"}, "mode is 3x3 or 1x1, not 5x5"),
    (GEMV, {"output": "int16"}, "output is int32, int8 or uint8, not int16"),
    (GEMV, {"bits": 1}, "weights have 2 to 8 bits, not 1"),
    (GEMV, {"bits": 9}, "weights have 2 to 8 bits, not 9"),
    (GEMV, {"offset": 1}, "the offset of 4-bit weights is -15 to 0, not 1"),
    (GEMV, {"offset": -16}, "the offset of 4-bit weights is -15 to 0, not -16"),
    (GEMV, {"shift": 3}, "an int32 output has no scale, bias or shift"),
    (GEMV, {"cout": 0}, "cout is at least 1, not 0"),
    (GEMV, {"cout": 32 * 65536}, "cout is at most 2,097,120 .65,535 tiles of 32., not 2,097,152"),
    (FOLD, {"border": 3}, "a border of 3 is around inputs, of a 3x3 job of 6 x 6 pixels at most"),
    (FOLD, {"height": 7, "y_row": 4096}, "a border of 2 is around inputs"),
    (ROWS, {"border": 1}, "a border of 1 is around inputs"),
    (GEMV, {"x_row": -1}, "x_row is a stride of 0"),
    (ROWS, {"y_pixel": 396}, "y_pixel is at least the pixel's 400 B, not 396"),
    (ROWS, {"y_row": 1596}, "y_row is at least the row's 1,600 B, not 1,596"),
    (GEMV, {"bits": 8, "offset": -128, "cin": 20_000}, "holds less than 2,147,483,648, but 180,000 products may reach"),
    (GEMV, {"w": TILE + 16}, "weights are aligned to 32 B, not at 0x10800010"),
    (GEMV, {"w": 0x1C01_0000}, "weights lie in L1 or in the neural memory, not 131,072 B at 0x1c010000"),
    (GEMV, {"w": NEURAL.stop - 32}, "weights lie in L1 or in the neural memory"),
    (GEMV, {"x": TILE}, "inputs lie in L1"),
    (GEMV, {"x": L1.stop - 503}, "inputs lie in L1 .* not 504 B"),
    (GEMV, {"y": L1.stop - 4}, "outputs lie in L1"),
    (GEMV, {"y": L1.start + 0x1002}, "int32 outputs are aligned to 4 B, not at 0x10001002"),
    (GEMV, {"y": L1.start + 500}, "outputs at 0x100001f4 overlap the 504 B of inputs"),
    (QUANTISED, {"scale_bits": 16}, "scales have 8 or 32 bits, not 16"),
    (QUANTISED, {"shift": 32}, "the shift is 0 to 31, not 32"),
    (QUANTISED, {"scale_bits": 32, "scale": L1.start + 2}, "32-bit scales are aligned to 4 B"),
    (QUANTISED, {"scale": TILE}, "scales lie in L1"),
    (QUANTISED, {"bias": L1.start + 0x30002}, "biases are aligned to 4 B"),
    (QUANTISED, {"bias": L1.stop - 400}, "biases lie in L1 .* not 512 B"),
]


@pytest.mark.parametrize(("job", "change", "message"), REFUSED, ids=lambda v: str(v)[:30])
def test_limits(job: Job, change: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message):
        check_job(replace(job, **change))


def test_grids_hold_the_rows_in_the_fewest_passes() -> None:
    for rows in range(1, 200):
        rectangles = grids(rows)
        assert sum(h * w for h, w in rectangles) == rows
        passes = sum(-(-h // 6) * -(-w // 6) for h, w in rectangles)
        assert passes <= -(-rows // 36) + 1
    assert grids(36) == [(6, 6)]
    assert grids(37) == [(6, 6), (1, 1)]
