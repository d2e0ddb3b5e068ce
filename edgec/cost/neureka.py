"""Cycles of a matmul on N-EUREKA: the engine's jobs, core 0 that starts them, and the cores that scale what is done.

The kernel is followed job by job (`kernels/matmul_w4a8_neureka/matmul_w4a8_neureka_tiles.h`): core 0 starts a job when
one of the engine's two places is free, the engine works on one after the other (`edgec/neureka/cycles.py`), and a tile
is scaled when its jobs have ended, by the cores that start none.

A call's code comes from slow memory, as other kernels ran since the last call: `start_cycles` and FIRST are that.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from edgec.neureka.cycles import job_cycles
from edgec.neureka.job import gemv_job
from edgec.ops.matmul_w4a8 import bits_of
from edgec.ops.matmul_w4a8_neureka import BLOCK, tile_sizes
from edgec.packing import n_groups
from edgec.target import Accelerator, Engine

# Measured on the public model of Siracusa, in whole tokens of models of 4, 2 and 8 bits.
FIRST = 750  # core 0, from the first job to where it starts the second; code from slow memory
FORK = 120  # fork, a core's share of a tile, join
ROW = 30  # a row of a tile
ONE_GROUP = 12  # of a core: a channel of a row
CHANNEL, GROUP = 9, 11.5  # where there are several groups: a channel and each of its groups
RETURN = 60


def matmul_cycles(unit: Accelerator, cores: Engine, name: str, numbers: Mapping[str, int | float]) -> float:
    """Cycles of one call of matmul_w<bits>a8_neureka."""
    m, n, k, group_size, tile = (int(numbers[key]) for key in ("m", "n", "k", "group_size", "tile"))
    return _matmul_cycles(unit, cores.cores, bits_of(name), m, n, k, group_size, tile)


@lru_cache(maxsize=4096)
def _matmul_cycles(
    unit: Accelerator, cores: int, bits: int, m: int, n: int, k: int, group_size: int, tile: int
) -> float:
    sizes, groups = tile_sizes(n, tile), n_groups(k, group_size)
    jobs = m * groups  # of a tile
    channel = ONE_GROUP if groups == 1 else CHANNEL + GROUP * groups
    length = {size: job_cycles(gemv_job(0, 0, 0, min(k, group_size), size, bits)) for size in set(sizes)}
    clock = float(unit.start_cycles)  # core 0's
    ends = [0.0, clock + length[sizes[0]]]  # of jobs, after one that never was

    def start(until: int) -> None:
        nonlocal clock
        for job in range(len(ends) - 1, min(until, jobs * len(sizes))):
            clock = max(clock, ends[-2]) + unit.restart_cycles
            ends.append(max(clock, ends[-1]) + length[sizes[job // jobs]])

    clock += FIRST
    start(jobs + 1)
    for tile_index, size in enumerate(sizes):
        clock = max(clock, ends[jobs * (tile_index + 1)]) + unit.wait_cycles
        free = cores - 1 if len(ends) <= jobs * len(sizes) and cores > 1 else cores
        scaled = clock + FORK + m * (ROW + -(-size // free) * channel)
        start(jobs * (tile_index + 2) + 1)
        clock = max(clock, scaled)
    return clock + RETURN


def peak_macs(bits: int = 4) -> float:
    """MAC per cycle of the engine by itself on a large matrix of this width."""
    n = 1024
    return BLOCK * n / job_cycles(gemv_job(0, 0, 0, BLOCK, n, bits))
