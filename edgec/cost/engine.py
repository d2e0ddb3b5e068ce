"""Cycles of one kernel call: on the cores of an engine, or on an accelerator together with them.

cycles = fork + (macs + SEARCH_MACS * searches) * cycles_per_mac + flops * cycles_per_flop
         macs, searches and flops of the core that has most of the call's parallel pieces

or, for a kernel that was measured on the target,

cycles = call_cycles + pieces * unit_cycles + macs * mac_cycles + flops * flop_cycles
         + any_rows_cycles, if the call is made for any number of rows

The counts come from the kernel's own `work`; the constants from the target file, with their sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edgec.chip import Engine
from edgec.cost.neureka import matmul_cycles, spare_cycles
from edgec.cost.neureka_mlp import mlp_cycles
from edgec.cost.neureka_places import Lacks
from edgec.memory.plan import Call
from edgec.ops import kernel
from edgec.target import Target

# What finding the input of a packed weight takes, in multiply-accumulates. In instructions of the RV32 kernels a kept
# 8-bit weight takes 2.6 to 3.2 times a dense one with one row, 1.9 to 2.2 times with four; of 4 bits, where dense
# weights are multiplied in pairs, 3.6 to 4.6 and 2.4 to 2.9 times (docs/compression.md).
SEARCH_MACS = 1.75


class Counts(NamedTuple):
    """What one core does in a kernel call: its parallel pieces, multiply-accumulates and float operations."""

    units: int
    macs: float
    flops: float


def engine_name(target: Target, name: str) -> str:
    """The engine or accelerator that a kernel runs on."""
    kind = kernel(name).engine
    found = target.accelerator(kind) if kind else None
    return target.engines[0].name if found is None else found.name


def call_cycles(
    target: Target,
    name: str,
    numbers: Mapping[str, int | float],
    any_rows: bool = False,
    lacks: Sequence[Lacks] = (),
) -> float:
    """Cycles of a kernel call with these numbers. any_rows: it is made for any number of rows (`Call.any_rows`).

    lacks: what an accelerator's places lack of its jobs' shapes (`Places.call`); else it is behind a call like it.

    Whole ones, so that sums of calls do not depend on their order.
    """
    accelerator = target.accelerator(kernel(name).engine)
    if accelerator is not None:
        cycles = mlp_cycles if "down_n" in numbers else matmul_cycles
        return float(round(cycles(accelerator, target.engines[0], name, numbers, any_rows, lacks)))
    return float(round(_cores_cycles(target.engines[0], name, numbers, any_rows)))


def transfers_cycles(target: Target, transfers: int, call: Call | None, numbers: Mapping[str, int | float]) -> float:
    """Cycles for which the first core's telling the DMA of so many transfers holds up a phase with this call, or none.

    A call of a single row on an accelerator begins with its first job, during which that takes no time.
    """
    cycles = float(transfers * target.engines[0].transfer_cycles)
    unit = target.accelerator(kernel(call.kernel).engine) if call is not None else None
    if call is None or unit is None or not cycles or call.any_rows or numbers["m"] != 1:
        return cycles
    return max(0.0, cycles - round(spare_cycles(unit, target.engines[0], call.kernel, numbers)))


def busiest_core(engine: Engine, name: str, numbers: Mapping[str, int | float]) -> Counts:
    """What costs are multiplied with: the work of the core that has most of a call's parallel pieces."""
    work = kernel(name).work(dict(numbers))
    busy = min(engine.cores, max(1, work.parallel))
    units = -(-work.parallel // busy)
    share = units / max(1, work.parallel)  # of all work
    macs = work.macs + SEARCH_MACS * work.searches
    rows = -(-work.rows // busy) * work.row_flops
    return Counts(units, share * macs, share * work.flops + rows)


def _cores_cycles(engine: Engine, name: str, numbers: Mapping[str, int | float], any_rows: bool) -> float:
    units, macs, flops = busiest_core(engine, name, numbers)
    cost = engine.cost_of(name)
    if cost is None:
        return engine.fork_cycles + macs * engine.cycles_per_mac + flops * engine.cycles_per_flop
    fixed = cost.call_cycles + any_rows * cost.any_rows_cycles
    return fixed + units * cost.unit_cycles + macs * cost.mac_cycles + flops * cost.flop_cycles
