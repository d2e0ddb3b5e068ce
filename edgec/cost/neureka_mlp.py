"""Cycles of a gated MLP of one row in one call: the engine's jobs of gate, up and down in a row, and the cores.

Followed job by job as the kernel does it (`kernels/matmul_w4a8_mlp_neureka/matmul_w4a8_mlp_neureka_row_xpulpv2.h`): a
job of down starts when its group is quantised, so the engine waits for the last group at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgec.chip import Accelerator, Engine
from edgec.cost.neureka import (
    FIRST,
    GATE_SHARE,
    GROUP_CHANNEL,
    MORE,
    RETURN,
    WIDEN,
    matmul_cycles,
    tail_cycles,
)
from edgec.cost.neureka_gated_row import GatedRow
from edgec.cost.neureka_jobs import Queue, fold_cycles, rewrites, row_job_cycles
from edgec.cost.neureka_places import Lacks, jobs_of
from edgec.ops import matmul_w4a8_mlp_neureka as op
from edgec.ops.matmul_w4a8_neureka import split_in, tile_sizes
from edgec.ops.matmul_w4a8_silu_neureka import PARTS, grouped
from edgec.packing import n_groups

# Fitted as the numbers of edgec/cost/neureka.py.
MEET = 30  # the cores wait for each other behind the last group's elements
PASS, SHARED = 75, 55  # before a group's sums, or those of a tile, are waited for, and behind it, but the channels
APART = 40  # of two calls in one: what leads to the second


def mlp_cycles(
    unit: Accelerator,
    cores: Engine,
    name: str,
    numbers: Mapping[str, int | float],
    any_rows: bool = False,
    lacks: Sequence[Lacks] = (),
) -> float:
    """Cycles of one call of matmul_w<bits>a8_mlp_neureka or its 1x1 form. any_rows, lacks: as matmul_cycles'."""
    given = {key: int(number) for key, number in numbers.items()}
    width = given["n"] // PARTS
    if n_groups(given["k"], given["group_size"]) == 1 and grouped(width, given["out_group"]):
        return _in_groups(unit, cores.cores, name, given, lacks or [Lacks()] * len(jobs_of(name, given)))
    gated, down = op.parts_of(name)
    first = matmul_cycles(unit, cores, gated, op.gated_numbers(given), any_rows, lacks[:-1])
    return first + APART + matmul_cycles(unit, cores, down, op.down_call(name, given), any_rows, lacks[-1:])


def _in_groups(unit: Accelerator, cores: int, name: str, a: Mapping[str, int], lacks: Sequence[Lacks]) -> float:
    width, n, groups = a["n"] // PARTS, a["down_n"], n_groups(a["n"] // PARTS, a["out_group"])
    tiles = tile_sizes(width, a["tile"], a["first"])
    down = [n] * (groups - 1) + tile_sizes(n, n, a["down_first"])
    split = split_in(a)
    folds = [fold_cycles(name, split.fold, a["n"])] if split.fold else []
    lengths = [row_job_cycles(name, a["k"] - split.apart, size) for size in tiles for _ in range(PARTS)]
    lengths[1:1] = folds
    gate, ready = len(lengths), 0
    lengths += [row_job_cycles(name, a["out_group"], size) for size in down]
    jobs = Queue(unit.restart_cycles, unit.start_cycles, lengths, rewrites(jobs_of(name, a), lacks))
    jobs.begin()
    jobs.start(1 + len(folds))
    row = GatedRow(cores, width, a["out_group"], *tail_cycles(split))
    jobs.clock += FIRST + MORE
    for index, size in enumerate(tiles):
        done = len(folds) + PARTS * (index + 1)
        jobs.start(done + 1, gate + ready)
        jobs.clock += GATE_SHARE
        if not index:
            jobs.clock = max(jobs.clock, unit.start_cycles + FIRST + WIDEN * -(-width // max(1, cores - 1)))
        meeting = jobs.clock = max(jobs.clock, row.others, jobs.ends[done]) + unit.wait_cycles
        ready = min(row.quantized, groups - 1)
        jobs.start(done + 2, gate + ready)
        jobs.clock = row.tile(meeting, jobs.clock, size)
    jobs.clock += MEET
    for index, size in enumerate(down):
        done = gate + index + 1
        jobs.start(done + 1, len(lengths))
        jobs.clock = max(jobs.clock + PASS, jobs.ends[done]) + unit.wait_cycles
        jobs.start(done + 2, len(lengths))
        jobs.clock += SHARED + -(-size // cores) * GROUP_CHANNEL
    return jobs.clock + RETURN
