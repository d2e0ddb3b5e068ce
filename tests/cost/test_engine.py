"""Cycles of a call on the cores are its counts times the costs, whether these were measured or not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgec.chip import KernelCost
from edgec.cost.engine import busiest_core, call_cycles
from edgec.ops import kernel
from edgec.target import Target, load_target

NUMBERS = {"m": 3, "n": 20, "k": 100, "group_size": 50, "ldy": 20}


def on_cores(cores: int, *measured: KernelCost) -> Target:
    target = load_target("siracusa")
    return replace(target, engines=(replace(target.engines[0], cores=cores, measured=measured),))


def test_the_busiest_core_has_most_channels() -> None:
    work = kernel("matmul_w4a8").work(NUMBERS)
    assert busiest_core(on_cores(1).engines[0], "matmul_w4a8", NUMBERS) == (20, work.macs, work.flops)
    units, macs, flops = busiest_core(on_cores(8).engines[0], "matmul_w4a8", NUMBERS)
    assert units == 3  # of 20 channels on 8 cores
    assert (macs, flops) == pytest.approx((work.macs * 3 / 20, work.flops * 3 / 20))
    assert busiest_core(on_cores(64).engines[0], "matmul_w4a8", NUMBERS).units == 1


def test_costs_times_counts() -> None:
    plain = on_cores(8)
    engine = plain.engines[0]
    units, macs, flops = busiest_core(engine, "matmul_w4a8", NUMBERS)
    expected = engine.fork_cycles + macs * engine.cycles_per_mac + flops * engine.cycles_per_flop
    assert call_cycles(plain, "matmul_w4a8", NUMBERS) == pytest.approx(expected)
    fitted = on_cores(8, KernelCost(("matmul_w4a8",), 7, 5, 3, 2))
    assert call_cycles(fitted, "matmul_w4a8", NUMBERS) == pytest.approx(7 + 5 * units + 3 * macs + 2 * flops)


def test_a_measured_call_includes_its_start() -> None:
    numbers = {"m": 1, "n": 8, "k": 8, "group_size": 8, "ldy": 8}
    nothing = on_cores(8, KernelCost(("matmul_w4a8",), 7, 0, 0, 0))
    assert call_cycles(nothing, "matmul_w4a8", numbers) == 7
