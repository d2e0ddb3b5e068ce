"""Cycles of one kernel call on the cores of an engine.

cycles = fork + (macs * cycles_per_mac + flops * cycles_per_flop) / cores that have work

The counts come from the kernel's own `work`; the constants from the target file, with their sources.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgec.ops import kernel
from edgec.target import Engine


def call_cycles(engine: Engine, name: str, numbers: Mapping[str, int | float]) -> float:
    """Cycles of a kernel call with these numbers."""
    work = kernel(name).work(dict(numbers))
    busy = min(engine.cores, max(1, work.parallel))
    share = -(-work.parallel // busy) * busy / max(1, work.parallel)  # the slowest core's surplus
    return engine.fork_cycles + share * (work.macs * engine.cycles_per_mac + work.flops * engine.cycles_per_flop) / busy
