"""The prediction for gate and up of a row on N-EUREKA: near what was measured, and of the kernel's own numbers."""

from __future__ import annotations

import re

import pytest

from edgec.cost.neureka import matmul_cycles
from edgec.cost.neureka_gated_row import STARTS, GatedRow
from edgec.ops.matmul_w4a8_silu_neureka import GROUP_LEAST, GROUPS_MOST, kernel_name
from edgec.resources import folder
from edgec.target import load_target

# bits, n, k, tile, first, group of v, cycles: steps of whole tokens, the mean of all layers. bits 0: 1x1
MEASURED = [
    (0, 512, 64, 64, 64, 64, 3378),
    (0, 512, 64, 64, 64, 256, 3198),
    (4, 1512, 252, 128, 64, 252, 8918),
    (4, 1512, 252, 192, 64, 252, 8842),
]


def cycles(bits: int, n: int, k: int, tile: int, first: int, out_group: int) -> float:
    target = load_target("siracusa")
    unit = target.accelerator("neureka")
    assert unit is not None
    numbers = {"m": 1, "n": n, "k": k, "group_size": k, "tile": tile, "first": first, "out_group": out_group}
    name = kernel_name(bits, "3x3") if bits else kernel_name(8, "1x1")
    return matmul_cycles(unit, target.engines[0], name, numbers)


@pytest.mark.parametrize("case", MEASURED)
def test_near_what_was_measured(case: tuple[int, ...]) -> None:
    *numbers, measured = case
    assert cycles(*numbers) == pytest.approx(measured, rel=0.06)


def test_long_groups_are_quantised_between_tiles() -> None:
    """Behind the last tile is one group of three; of short groups, all of them."""
    grouped, whole = cycles(4, 1512, 252, 192, 64, 252), cycles(4, 1512, 252, 192, 64, 126)
    assert 300 < whole - grouped < 1500


@pytest.mark.parametrize("size, count", [(252, 3), (128, 4)])
def test_each_group_is_quantised_once(size: int, count: int) -> None:
    row, clock, quantized = GatedRow(8, size * count, size), 0.0, []
    while row.done < row.width:
        clock = row.tile(clock, clock, min(64, row.width - row.done))
        quantized.append(row.quantized)
    assert quantized == sorted(quantized) and quantized[-1] == count
    assert quantized[-2] < count  # the last one lies behind all tiles


def test_numbers_are_the_kernel_s() -> None:
    module = folder("kernels") / "matmul_w4a8_silu_neureka"
    text = "".join(path.read_text() for path in sorted(module.glob("*.h")))
    found = {name: int(value) for name, value in re.findall(r"#define EDGEC_(\w+) +(\d+)u", text)}
    assert (found["GROUPS_MOST"], found["GROUP_LEAST"]) == (GROUPS_MOST, GROUP_LEAST)
    assert found["JOBS_AS_CHANNELS"] == STARTS
