"""A single row of one group on N-EUREKA, with inputs of the cores: beside whole tokens on the public model."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from edgec.cost.neureka import matmul_cycles
from edgec.cost.neureka_places import Lack, Lacks
from edgec.cost.neureka_plain_row import FOLD_STARTS, STARTS
from edgec.neureka.matrix import FEW, WORD, Split
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

FOLDED = [  # the same with inputs that are folded: bits, n, k, tail, fold, tile, first, cycles
    (4, 288, 288, 0, 36, 96, 96, 2206),
    (4, 864, 288, 0, 36, 448, 224, 5960),
    (4, 288, 288, 8, 28, 160, 160, 2152),
    (4, 864, 288, 8, 28, 160, 160, 5632),
    (4, 300, 300, 0, 48, 160, 96, 2363),
    (4, 320, 320, 0, 68, 96, 64, 2636),
    (4, 352, 352, 0, 100, 96, 96, 3023),
    (4, 384, 384, 0, 132, 192, 64, 3527),
    (4, 400, 400, 0, 148, 128, 64, 3886),
    (4, 320, 1000, 0, 244, 96, 96, 6571),
]


@pytest.fixture(scope="module")
def target() -> Target:
    return load_target("siracusa")


def cycles(
    target: Target,
    bits: int,
    n: int,
    k: int,
    tail: int,
    tile: int,
    first: int,
    m: int = 1,
    fold: int = 0,
    lacks: Sequence[Lacks] = (),
) -> float:
    unit, name = target.accelerator("neureka"), f"matmul_w{bits}a8_neureka"
    assert unit is not None
    numbers = call_numbers(name, n, k, k, tile, first, Split(tail, fold)) | {"m": m}
    return matmul_cycles(unit, target.engines[0], name, numbers, lacks=lacks)


@pytest.mark.parametrize("case", MEASURED)
def test_near_what_was_measured(target: Target, case: tuple[int, ...]) -> None:
    assert cycles(target, *case[:-1]) == pytest.approx(case[-1], rel=0.06)


@pytest.mark.parametrize("case", FOLDED)
def test_near_what_was_measured_of_folded_inputs(target: Target, case: tuple[int, ...]) -> None:
    """The first job's place held its shape, and the other one had such a row before the folded inputs."""
    bits, n, k, tail, fold, tile, first, measured = case
    lacks = (Lacks(), Lacks(Lack.FOLD), Lacks(Lack.NOTHING, Lack.BEHIND_FOLD))
    assert cycles(target, bits, n, k, tail, tile, first, fold=fold, lacks=lacks) == pytest.approx(measured, rel=0.06)


@pytest.mark.parametrize(("k", "least"), [(280, 20), (288, 20), (300, 25), (340, 15), (384, 10), (400, 5)])
def test_folded_inputs_save_what_a_block_would_take(target: Target, k: int, least: int) -> None:
    """Per cent of a call of as many channels as inputs, the best of some tiles."""
    tiles = [(96, 96), (128, 64), (160, 160), (192, 64), (256, 256)]
    whole, folded = (min(cycles(target, 4, k, k, 0, *sizes, fold=fold) for sizes in tiles) for fold in (0, k % 252))
    assert folded < (1 - least / 100) * whole


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
    found = dict(re.findall(r"#define EDGEC_(\w+) +(\d+)u", path.read_text()))
    assert (int(found["START_AS_CHANNELS"]), int(found["FOLDS_AS_CHANNELS"])) == (STARTS, FOLD_STARTS)
    assert int(found["WORDS_AT_ONCE"]) * WORD == FEW
