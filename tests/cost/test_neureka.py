"""The prediction for matmuls on N-EUREKA: never below its parts, and near what was measured on the public model."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgec.chip import Accelerator, Engine
from edgec.cost.neureka import ANY_ROWS, matmul_cycles, peak_macs
from edgec.neureka.cycles import job_cycles
from edgec.neureka.job import gemv_job
from edgec.ops.matmul_w4a8_neureka import LAST, TILES, kernel_name, tile_sizes
from edgec.resources import folder
from edgec.target import load_target

# bits, m, n, k, group size, tile, first, cycles, any rows: steps of whole tokens and prompts, the mean of all layers.
# bits 0: 1x1
MEASURED = [
    (0, 1, 64, 64, 64, 64, 64, 789, False),
    (0, 1, 64, 64, 64, 64, 64, 1020, True),
    (0, 1, 64, 256, 64, 64, 64, 2029, False),
    (0, 1, 64, 256, 64, 64, 64, 2248, True),
    (0, 1, 96, 96, 32, 96, 96, 1730, False),
    (0, 1, 128, 64, 64, 128, 128, 1160, False),
    (0, 1, 128, 64, 64, 128, 128, 1386, True),
    (0, 1, 128, 128, 32, 128, 128, 2714, False),
    (0, 1, 288, 96, 32, 160, 160, 3978, False),
    (0, 1, 384, 128, 32, 192, 96, 6400, False),
    (0, 1, 512, 256, 64, 128, 128, 10784, False),
    (0, 1, 512, 256, 64, 192, 32, 11218, True),
    (0, 2, 64, 64, 64, 64, 64, 2266, True),
    (0, 2, 64, 256, 64, 64, 64, 4041, True),
    (0, 2, 128, 64, 64, 128, 128, 2580, True),
    (0, 3, 96, 96, 32, 96, 96, 4513, True),
    (0, 3, 96, 256, 32, 96, 96, 7679, True),
    (0, 3, 128, 128, 32, 128, 128, 6052, True),
    (0, 3, 288, 96, 32, 160, 160, 8574, True),
    (0, 3, 384, 128, 32, 96, 96, 14473, True),
    (0, 3, 512, 256, 64, 192, 32, 19822, True),
    (0, 4, 64, 64, 64, 64, 64, 2557, True),
    (0, 4, 128, 64, 64, 128, 128, 2878, True),
    (0, 7, 64, 64, 64, 64, 64, 3151, True),
    (0, 7, 64, 256, 64, 64, 64, 7714, True),
    (0, 7, 128, 64, 64, 128, 128, 4396, True),
    (0, 12, 64, 64, 64, 64, 64, 3781, True),
    (0, 12, 64, 256, 64, 64, 64, 8987, True),
    (0, 12, 128, 64, 64, 128, 128, 4319, True),
    (0, 16, 64, 64, 64, 64, 64, 3530, True),
    (0, 16, 64, 256, 64, 64, 64, 9796, True),
    (0, 16, 96, 96, 32, 96, 96, 10623, True),
    (0, 16, 128, 64, 64, 128, 128, 4371, True),
    (0, 16, 128, 128, 32, 128, 128, 16796, True),
    (0, 16, 288, 96, 32, 160, 160, 27146, True),
    (0, 16, 384, 128, 32, 96, 96, 45656, True),
    (0, 16, 512, 256, 64, 192, 32, 61602, True),
]


@pytest.fixture(scope="module")
def chip() -> tuple[Accelerator, Engine]:
    target = load_target("siracusa")
    unit = target.accelerator("neureka")
    assert unit is not None
    return unit, target.engines[0]


def cycles(chip: tuple[Accelerator, Engine], bits: int, *numbers: int, any_rows: bool = False) -> float:
    names = ("m", "n", "k", "group_size", "tile", "first")
    name = kernel_name(bits, "3x3") if bits else kernel_name(8, "1x1")
    return matmul_cycles(*chip, name, dict(zip(names, numbers, strict=True)), any_rows)


@pytest.mark.parametrize("case", MEASURED)
def test_within_15_percent_of_what_was_measured(chip: tuple[Accelerator, Engine], case: tuple[int, ...]) -> None:
    bits, *numbers, measured, any_rows = case
    assert cycles(chip, bits, *numbers, any_rows=bool(any_rows)) == pytest.approx(measured, rel=0.15)


def test_never_below_its_parts(chip: tuple[Accelerator, Engine]) -> None:
    rng = np.random.default_rng(3)
    for _ in range(100):
        bits, m, n = int(rng.integers(2, 9)), int(rng.integers(1, 5)), int(rng.integers(1, 900))
        groups, tile = int(rng.integers(1, 4)), min(n, 32 * int(rng.integers(1, 9)))
        first = min(tile, 32 * int(rng.integers(1, 9)))
        numbers = (m, n, 252 * groups, 252, tile, first)
        jobs = sum(job_cycles(gemv_job(0, 0, 0, 252, size, bits)) for size in tile_sizes(n, tile, first))
        found = cycles(chip, bits, *numbers)
        assert found > chip[0].start_cycles + m * groups * jobs
        assert found > m * n * groups * 11 / chip[1].cores
        assert found < cycles(chip, bits, m + 1, *numbers[1:])


def test_peak() -> None:
    assert 49 < peak_macs(4) < 52


@pytest.mark.parametrize("most", [32, 64, 96, 256, 1000])
def test_tiles_are_whole_passes(most: int) -> None:
    for n in range(1, 1000, 7):
        for first in (32, 64, most):
            tile = min(most, n)
            sizes = tile_sizes(n, tile, min(first, tile))
            assert sum(sizes) == n and max(sizes) <= tile and sizes[0] == min(first, tile)
            assert all(size % 32 == 0 for size in sizes[:-1])
            assert sizes[1:] == sorted(sizes[1:], reverse=True) or sizes[-1] <= LAST


def test_the_kernel_cuts_tiles_alike() -> None:
    text = (folder("kernels") / "matmul_w4a8_neureka" / "matmul_w4a8_neureka_tiles.h").read_text()
    found = dict(re.findall(r"#define EDGEC_NEUREKA_(\w+) +(\d+)u", text))
    assert (int(found["LAST"]), int(found["TILES"])) == (LAST, TILES)


def test_rows_are_shared_where_the_cores_have_as_many_each(chip: tuple[Accelerator, Engine]) -> None:
    """Sixteen rows are two a core, twelve would leave four cores without: then each has a share of the channels."""
    nine, twelve, sixteen = (cycles(chip, 0, m, 512, 64, 64, 256, 256) for m in (9, 12, 16))
    assert nine < twelve
    assert sixteen < twelve + (twelve - nine)


def test_any_number_of_rows(chip: tuple[Accelerator, Engine]) -> None:
    numbers = {"m": 1, "n": 64, "k": 64, "group_size": 64, "tile": 64, "first": 64}
    known, unknown = (matmul_cycles(*chip, "matmul_w8a8_neureka_1x1", numbers, any_rows) for any_rows in (False, True))
    assert known + ANY_ROWS == unknown
