"""A single row of one group on N-EUREKA, with inputs of the cores: beside whole tokens on the public model."""

from __future__ import annotations

import re

import pytest

from edgec.cost.neureka import matmul_cycles
from edgec.cost.neureka_plain_row import STARTS
from edgec.ops.matmul_w4a8_neureka import call_numbers
from edgec.resources import folder
from edgec.target import Target, load_target

# bits, channels, inputs, those of the cores, tile, first, measured: o of models of 256 and 512 with heads of 64
MEASURED = [
    (4, 256, 256, 4, 96, 96, 1588),
    (4, 256, 256, 4, 128, 128, 1668),
    (4, 256, 256, 4, 64, 64, 1740),
    (4, 512, 512, 8, 352, 352, 5360),
    (3, 256, 256, 4, 128, 128, 1402),
    (2, 256, 256, 4, 128, 128, 1342),
    (2, 256, 256, 4, 256, 256, 1336),
]


@pytest.fixture(scope="module")
def target() -> Target:
    return load_target("siracusa")


def cycles(target: Target, bits: int, n: int, k: int, tail: int, tile: int, first: int, m: int = 1) -> float:
    unit, name = target.accelerator("neureka"), f"matmul_w{bits}a8_neureka"
    assert unit is not None
    numbers = call_numbers(name, n, k, k, tile, first, tail) | {"m": m}
    return matmul_cycles(unit, target.engines[0], name, numbers)


@pytest.mark.parametrize("case", MEASURED)
def test_near_what_was_measured(target: Target, case: tuple[int, ...]) -> None:
    assert cycles(target, *case[:-1]) == pytest.approx(case[-1], rel=0.06)


@pytest.mark.parametrize(("m", "most"), [(1, 0.6), (4, 0.8), (16, 0.7)])
def test_a_few_inputs_are_worth_less_than_a_block(target: Target, m: int, most: float) -> None:
    """A block of the engine for 4 inputs nearly doubles the time of 252; many inputs are the engine's."""
    assert cycles(target, 4, 256, 256, 4, 96, 96, m) < most * cycles(target, 4, 256, 256, 0, 96, 96, m)
    assert cycles(target, 4, 500, 500, 248, 96, 96, m) > cycles(target, 4, 500, 500, 0, 96, 96, m)


def test_more_words_take_longer(target: Target) -> None:
    found = [cycles(target, 4, 256, 252 + tail, tail, 96, 96) for tail in range(0, 100, 4)]
    assert found == sorted(found) and found[-1] > 1.5 * found[0]


def test_the_kernel_leaves_as_many_channels_to_others() -> None:
    path = folder("kernels") / "matmul_w4a8_neureka" / "matmul_w4a8_neureka_plain_xpulpv2.h"
    found = re.search(r"#define EDGEC_START_AS_CHANNELS +(\d+)u", path.read_text())
    assert found is not None and int(found[1]) == STARTS
