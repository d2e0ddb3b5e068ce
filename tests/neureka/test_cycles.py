"""The cycle model against cycles measured on the public model of the chip, and closed forms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgec.neureka.cycles import WAIT_CORE, job_cycles
from edgec.neureka.engine import BITS, L1
from edgec.neureka.job import Job, fold_job, gemv_job, rows_job

X, W, Y = L1.start, 0x1080_0000, L1.start + 0x8000


def _image(mode: str, height: int, width: int, cin: int, cout: int, bits: int, **more: Any) -> Job:
    in_width = width + (2 if mode == "3x3" else 0)
    strides = (cin, in_width * cin, 4 * cout, width * 4 * cout)
    job = Job(mode, bits, 1 - (1 << bits), X, W, Y, cin, cout, height, width, *strides)
    return replace(job, **more)


def off(job: Job) -> Job:
    """The job without prefetch."""
    return replace(job, prefetch=False)


def _requantised(output: str, scale_bits: int, bias: bool) -> dict[str, Any]:
    return {"output": output, "scale_bits": scale_bits, "scale": X, "bias": X if bias else 0, "shift": 8}


# From the write of the trigger to the core's awakening, on the public GVSoC model, all in one run.
MEASURED = [
    (gemv_job(X, W, Y, 504, 512, 4), 5020),
    (gemv_job(X, W, Y, 504, 512, 3), 3996),
    (gemv_job(X, W, Y, 504, 512, 2), 2972),
    (gemv_job(X, W, Y, 252, 1008, 4), 5114),
    (gemv_job(X, W, Y, 756, 252, 4), 3684),
    *((gemv_job(X, W, Y, 504, 64, b), c) for b, c in zip(BITS, (396, 524, 652, 780, 908, 1036, 1164), strict=True)),
    *(
        (off(gemv_job(X, W, Y, 504, 64, b)), c)
        for b, c in zip(BITS, (408, 536, 664, 792, 920, 1048, 1176), strict=True)
    ),
    (gemv_job(X, W, Y, 300, 45, 4), 498),
    (off(gemv_job(X, W, Y, 300, 45, 4)), 510),
    (gemv_job(X, W, Y, 1000, 31, 4), 626),
    (gemv_job(X, W, Y, 252, 1, 4), 62),
    (gemv_job(X, W, Y, 9, 8, 4), 90),
    (off(rows_job(X, W, Y, (1, 1), 504, 512, 4)), 23180),
    (rows_job(X, W, Y, (1, 1), 504, 512, 4), 14732),
    (rows_job(X, W, Y, (1, 1), 480, 512, 4), 13852),
    *(
        (rows_job(X, W, Y, (5, 3), 70, 45, b), c)
        for b, c in zip(BITS, (571, 571, 571, 571, 571, 571, 571), strict=True)
    ),
    (off(rows_job(X, W, Y, (6, 6), 100, 40, 4)), 838),
    (rows_job(X, W, Y, (6, 6), 100, 40, 4), 694),
    (off(rows_job(X, W, Y, (8, 7), 100, 40, 4)), 2978),
    (rows_job(X, W, Y, (8, 7), 100, 40, 4), 2282),
    (rows_job(X, W, Y, (9, 4), 100, 40, 4), 1210),
    (rows_job(X, W, Y, (2, 13), 100, 40, 4), 1561),
    (_image("3x3", 4, 4, 30, 40, 4), 616),
    (off(_image("3x3", 4, 4, 30, 40, 4)), 682),
    (_image("3x3", 1, 4, 30, 40, 4), 490),
    (_image("3x3", 7, 8, 30, 40, 4), 2199),
    (off(_image("3x3", 7, 8, 30, 40, 4)), 2536),
    (_image("3x3", 5, 4, 30, 41, 5, **_requantised("int8", 8, False)), 709),
    (_image("3x3", 5, 4, 30, 41, 5, **_requantised("uint8", 8, True)), 717),
    (_image("3x3", 5, 4, 30, 41, 5, **_requantised("int8", 32, False)), 737),
    (_image("3x3", 5, 4, 30, 41, 5, **_requantised("uint8", 32, True)), 747),
    (_image("1x1", 5, 4, 70, 41, 5, **_requantised("int8", 8, False)), 506),
    (_image("1x1", 5, 4, 70, 41, 5, **_requantised("uint8", 32, True)), 544),
    (off(_image("3x3", 8, 3, 20, 31, 4)), 544),
    (_image("3x3", 5, 6, 58, 6, 6), 306),
    (_image("1x1", 8, 5, 14, 54, 8, **_requantised("int8", 32, True)), 598),
]


@pytest.mark.parametrize(("job", "cycles"), MEASURED, ids=lambda v: str(v) if isinstance(v, int) else v.mode)
def test_measured(job: Job, cycles: int) -> None:
    """The engine's part is exact; waking up took the core WAIT_CORE cycles, once 2 less."""
    assert cycles - job_cycles(job) in (WAIT_CORE, WAIT_CORE - 2)


@pytest.mark.parametrize(
    ("k", "n", "bits", "cycles"),
    [(28, 288, 4, 262), (28, 297, 4, 326), (56, 63, 4, 170), (112, 387, 8, 1723), (112, 81, 2, 247)],
)
def test_measured_of_folded_inputs(k: int, n: int, bits: int, cycles: int) -> None:
    """In a program whose core took 1 to 3 cycles more to notice the end, for it read the counter in between."""
    assert WAIT_CORE < cycles - job_cycles(fold_job(X, W, Y, k, n, bits)) <= WAIT_CORE + 3


@pytest.mark.parametrize(
    ("k", "n", "bits", "cycles"),
    [
        *((504, 512, 8, 9098), (504, 512, 4, 5001), (504, 512, 3, 3977), (504, 512, 2, 2953)),
        *((252, 1008, 4, 5095), (756, 252, 4, 3665)),
    ],
)
def test_measured_with_a_shorter_wait(k: int, n: int, bits: int, cycles: int) -> None:
    """Earlier figures of the same model, whose core took 8 or 9 cycles to notice the end."""
    assert 8 <= cycles - job_cycles(gemv_job(X, W, Y, k, n, bits)) <= 9


def test_width_buys_time_in_3x3_form_only() -> None:
    assert job_cycles(gemv_job(X, W, Y, 504, 512, 2)) < job_cycles(gemv_job(X, W, Y, 504, 512, 4)) * 0.6
    assert len({job_cycles(rows_job(X, W, Y, (6, 6), 504, 512, bits)) for bits in range(2, 9)}) == 1


def test_silicon_fills_the_whole_input_buffer() -> None:
    one_block = off(gemv_job(X, W, Y, 252, 64, 4))
    assert job_cycles(one_block, silicon=True) - job_cycles(one_block) == 2 * (64 - 9)
    many = gemv_job(X, W, Y, 2520, 64, 4)  # prefetch hides most of it: multiplying takes longer than 64 cycles
    assert job_cycles(many, silicon=True) - job_cycles(many) == 2 * (64 - 9)
    rows = rows_job(X, W, Y, (6, 6), 504, 512, 4)
    assert job_cycles(rows, silicon=True) == job_cycles(rows)


def test_prefetch_never_slows_down() -> None:
    for job, _ in MEASURED:
        assert job_cycles(replace(job, prefetch=True)) <= job_cycles(off(job))
