"""The prediction for matmuls on N-EUREKA: never below its parts, and near what was measured on the public model."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgec.chip import Accelerator, Engine
from edgec.cost.neureka import matmul_cycles, peak_macs
from edgec.neureka.cycles import job_cycles
from edgec.neureka.job import gemv_job
from edgec.ops.matmul_w4a8_neureka import LAST, TILES, kernel_name, tile_sizes
from edgec.resources import folder
from edgec.target import load_target

# bits, m, n, k, group size, tile, first, cycles: steps of whole tokens and prompts, the mean of all layers. bits 0: 1x1
MEASURED = [
    (0, 1, 192, 64, 64, 96, 96, 1577),
    (0, 1, 64, 64, 64, 64, 64, 831),
    (0, 1, 64, 256, 64, 64, 64, 2211),
    (0, 16, 192, 64, 64, 96, 96, 6456),
    (0, 16, 64, 64, 64, 64, 64, 4406),
    (0, 16, 512, 64, 64, 256, 256, 14178),
    (0, 16, 64, 256, 64, 64, 64, 11310),
]


@pytest.fixture(scope="module")
def chip() -> tuple[Accelerator, Engine]:
    target = load_target("siracusa")
    unit = target.accelerator("neureka")
    assert unit is not None
    return unit, target.engines[0]


def cycles(chip: tuple[Accelerator, Engine], bits: int, *numbers: int) -> float:
    names = ("m", "n", "k", "group_size", "tile", "first")
    name = kernel_name(bits, "3x3") if bits else kernel_name(8, "1x1")
    return matmul_cycles(*chip, name, dict(zip(names, numbers, strict=True)))


@pytest.mark.parametrize("case", MEASURED)
def test_within_15_percent_of_what_was_measured(chip: tuple[Accelerator, Engine], case: tuple[int, ...]) -> None:
    bits, *numbers, measured = case
    assert cycles(chip, bits, *numbers) == pytest.approx(measured, rel=0.15)


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
