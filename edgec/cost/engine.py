"""Cycles of one kernel call on the cores of an engine.

cycles = fork + ((macs + SEARCH_MACS * searches) * cycles_per_mac + flops * cycles_per_flop) / cores that have work
         + rows per core * row_flops * cycles_per_flop

The counts come from the kernel's own `work`; the constants from the target file, with their sources.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgec.ops import kernel
from edgec.target import Engine

# What finding the input of a packed weight takes, in multiply-accumulates. In instructions of the RV32 kernels a kept
# 8-bit weight takes 2.6 to 3.2 times a dense one with one row, 1.9 to 2.2 times with four; of 4 bits, where dense
# weights are multiplied in pairs, 3.6 to 4.6 and 2.4 to 2.9 times (docs/compression.md).
SEARCH_MACS = 1.75


def call_cycles(engine: Engine, name: str, numbers: Mapping[str, int | float]) -> float:
    """Cycles of a kernel call with these numbers."""
    work = kernel(name).work(dict(numbers))
    busy = min(engine.cores, max(1, work.parallel))
    share = -(-work.parallel // busy) * busy / max(1, work.parallel)  # the slowest core's surplus
    macs = work.macs + SEARCH_MACS * work.searches
    cycles = macs * engine.cycles_per_mac + work.flops * engine.cycles_per_flop
    repeated = -(-work.rows // busy) * work.row_flops * engine.cycles_per_flop
    return engine.fork_cycles + share * cycles / busy + repeated
