"""Cycles of a call on the cores are its counts times the costs, whether these were measured or not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgec.chip import KernelCost
from edgec.cost.engine import busiest_core, call_cycles
from edgec.ops import kernel
from edgec.ops.quantize_dynamic import evened
from edgec.target import Target, load_target

NUMBERS = {"m": 3, "n": 20, "k": 100, "group_size": 50, "ldy": 20}


def on_cores(cores: int, *measured: KernelCost) -> Target:
    target = load_target("siracusa")
    return replace(target, engines=(replace(target.engines[0], cores=cores, measured=measured),))


def test_the_busiest_core_has_most_channels() -> None:
    work = kernel("matmul_w4a8").work(NUMBERS)
    alone = busiest_core(on_cores(1).engines[0], "matmul_w4a8", NUMBERS)
    assert alone == (20, work.macs, work.flops + work.row_flops)
    units, macs, flops = busiest_core(on_cores(8).engines[0], "matmul_w4a8", NUMBERS)
    assert units == 3  # of 20 channels on 8 cores
    assert (macs, flops) == pytest.approx((work.macs * 3 / 20, work.flops * 3 / 20 + work.row_flops))
    assert busiest_core(on_cores(64).engines[0], "matmul_w4a8", NUMBERS).units == 1


def test_costs_times_counts() -> None:
    plain = on_cores(8)
    engine = plain.engines[0]
    units, macs, flops = busiest_core(engine, "matmul_w4a8", NUMBERS)
    expected = engine.fork_cycles + macs * engine.cycles_per_mac + flops * engine.cycles_per_flop
    assert call_cycles(plain, "matmul_w4a8", NUMBERS) == pytest.approx(expected, abs=0.5)
    fitted = on_cores(8, KernelCost(("matmul_w4a8",), 7, 5, 3, 2))
    assert call_cycles(fitted, "matmul_w4a8", NUMBERS) == pytest.approx(7 + 5 * units + 3 * macs + 2 * flops, abs=0.5)


def test_a_measured_call_includes_its_start() -> None:
    numbers = {"m": 1, "n": 8, "k": 8, "group_size": 8, "ldy": 8}
    nothing = on_cores(8, KernelCost(("matmul_w4a8",), 7, 0, 0, 0))
    assert call_cycles(nothing, "matmul_w4a8", numbers) == 7


def test_a_call_for_any_number_of_rows_takes_more_than_a_copy_that_knows_it() -> None:
    target = on_cores(8, KernelCost(("quantize_dynamic",), 7, 0, 0, 0, any_rows_cycles=100))
    numbers = {"rows": 1, "k": 64, "group_size": 64}
    assert call_cycles(target, "quantize_dynamic", numbers) == 7
    assert call_cycles(target, "quantize_dynamic", numbers, any_rows=True) == 107


@pytest.mark.parametrize("name", ["rmsnorm", "rope_append"])
def test_fewer_rows_than_cores_go_one_after_another(name: str) -> None:
    """Eight rows are one a core, and take less than seven, of which each core has a part."""
    engine = on_cores(8).engines[0]

    def flops(rows: int) -> float:
        shape = {
            "rmsnorm": {"rows": rows, "k": 64},
            "rope_append": {"m": rows, "n_heads": 8, "n_kv_heads": 8, "head_dim": 16},
        }
        return busiest_core(engine, name, shape[name]).flops

    assert flops(3) - flops(2) == flops(7) - flops(6) > 0
    assert flops(8) < flops(7)
    assert flops(16) == 2 * flops(8) == flops(9)


def test_a_short_last_group_is_no_help() -> None:
    """Of three rows in groups of 64 and 8 a core has at most one group; of 16 rows two of each."""
    assert evened(3, 72, 64, 2) == 6 * 64
    assert evened(16, 72, 64, 2) == 16 * 72
    assert evened(3, 64, 64, 2) == 3 * 64
    assert evened(1, 64, 64, 2) == 64


def test_what_a_core_of_the_matmul_pays_for() -> None:
    """Groups that end within a block, channels that fill no strip, and groups that are no strip's own."""
    target = load_target("siracusa")

    def cycles(m: int, k: int, n: int = 64, group_size: int = 64, bits: int = 8) -> float:
        numbers = {"m": m, "n": n, "k": k, "group_size": group_size, "ldy": 1000}
        return call_cycles(target, f"matmul_w{bits}a8", numbers)

    assert cycles(4, 192) < cycles(4, 190)  # strips over all groups, and not
    assert cycles(4, 64, n=72) > 1.3 * cycles(4, 64)  # nine channels a core: a strip of eight, and one
    assert cycles(1, 90, group_size=32, bits=2) > 1.05 * cycles(1, 96, group_size=32, bits=2)
    assert cycles(1, 96, group_size=16, bits=5) > 1.3 * cycles(1, 96, group_size=32, bits=5)
    assert cycles(5, 64) - cycles(4, 64) == pytest.approx(cycles(7, 64) - cycles(6, 64))
