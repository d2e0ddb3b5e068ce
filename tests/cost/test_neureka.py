"""The prediction for matmuls on N-EUREKA: never below its parts, and near what was measured on the public model."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest

from edgec.chip import Accelerator, Engine
from edgec.cost.neureka import ANY_ROWS, matmul_cycles, peak_macs
from edgec.cost.neureka_places import Lack, Lacks
from edgec.neureka.cycles import job_cycles
from edgec.neureka.job import gemv_job
from edgec.ops.matmul_w4a8_neureka import LAST, TILES, kernel_name, tile_sizes
from edgec.resources import folder
from edgec.target import load_target

# bits, m, n, k, group size, tile, first, cycles, any rows: steps of whole tokens and prompts, the mean of all layers,
# less what recording a step takes. bits 0: 1x1. Behind calls like them, but for those of OTHERS
MEASURED = [
    (0, 1, 32, 64, 32, 32, 32, 728, False),
    (0, 1, 32, 64, 32, 32, 32, 893, True),
    (0, 1, 64, 64, 64, 64, 64, 700, False),
    (0, 1, 64, 64, 64, 64, 64, 949, True),
    (0, 1, 64, 160, 32, 64, 64, 1832, False),
    (0, 1, 64, 160, 32, 64, 64, 2018, True),
    (0, 1, 64, 256, 64, 64, 64, 1675, False),
    (0, 1, 80, 64, 64, 80, 80, 862, False),
    (0, 1, 80, 64, 64, 80, 80, 1057, True),
    (0, 1, 120, 120, 120, 64, 64, 1376, False),
    (0, 1, 128, 128, 32, 96, 32, 3087, True),
    (0, 1, 168, 120, 120, 128, 128, 2218, False),
    (0, 1, 300, 64, 32, 128, 64, 2677, False),
    (0, 1, 300, 64, 32, 128, 64, 3641, True),
    (0, 1, 384, 128, 32, 96, 96, 6701, True),
    (0, 1, 384, 128, 32, 128, 128, 6380, False),
    (0, 3, 32, 64, 32, 32, 32, 2397, True),
    (0, 3, 64, 64, 64, 64, 64, 2349, True),
    (0, 3, 64, 160, 32, 64, 64, 4384, True),
    (0, 3, 64, 256, 64, 64, 64, 4445, True),
    (0, 3, 80, 64, 64, 80, 80, 2416, True),
    (0, 3, 128, 128, 32, 96, 32, 6741, True),
    (0, 3, 320, 64, 32, 160, 32, 7506, True),
    (0, 3, 384, 128, 32, 96, 96, 14291, True),
    (0, 16, 32, 64, 32, 32, 32, 3628, True),
    (0, 16, 64, 64, 64, 64, 64, 3489, True),
    (0, 16, 64, 160, 32, 64, 64, 10968, True),
    (0, 16, 64, 256, 64, 64, 64, 9643, True),
    (0, 16, 80, 64, 64, 80, 80, 3280, True),
    (0, 16, 128, 128, 32, 96, 32, 16989, True),
    (0, 16, 320, 64, 32, 160, 32, 20974, True),
    (0, 16, 384, 128, 32, 96, 96, 45837, True),
    (4, 1, 120, 320, 320, 64, 64, 1884, False),
    (4, 1, 252, 252, 252, 96, 96, 1637, False),
    (4, 1, 252, 756, 252, 96, 96, 4539, False),
    (4, 1, 420, 252, 252, 224, 224, 2571, False),
    (4, 1, 512, 120, 120, 192, 192, 3090, False),
    (4, 1, 512, 252, 252, 192, 192, 3238, True),
    (4, 2, 252, 252, 252, 128, 32, 4106, True),
    (4, 2, 252, 756, 252, 128, 32, 10573, True),
    (4, 2, 420, 252, 252, 128, 64, 5327, True),
]


OTHERS = {  # by bits, m, n, k and any rows
    (4, 1, 120, 320, False): Lack.INPUTS,
    (4, 1, 512, 120, False): Lack.INPUTS,
    (0, 1, 300, 64, True): Lack.GRID,
}


@pytest.fixture(scope="module")
def chip() -> tuple[Accelerator, Engine]:
    target = load_target("siracusa")
    unit = target.accelerator("neureka")
    assert unit is not None
    return unit, target.engines[0]


def cycles(
    chip: tuple[Accelerator, Engine], bits: int, *numbers: int, any_rows: bool = False, lacks: Sequence[Lacks] = ()
) -> float:
    names = ("m", "n", "k", "group_size", "tile", "first")
    name = kernel_name(bits, "3x3") if bits else kernel_name(8, "1x1")
    return matmul_cycles(*chip, name, dict(zip(names, numbers, strict=True)), any_rows, lacks)


@pytest.mark.parametrize("case", MEASURED)
def test_within_a_quarter_of_what_was_measured(chip: tuple[Accelerator, Engine], case: tuple[int, ...]) -> None:
    bits, *numbers, measured, any_rows = case
    other = OTHERS.get((*case[:4], case[-1]))
    lacks = (Lacks(other, other),) if other else ()
    assert cycles(chip, bits, *numbers, any_rows=bool(any_rows), lacks=lacks) == pytest.approx(measured, rel=0.25)


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
