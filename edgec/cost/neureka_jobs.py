"""The engine's jobs of a call and core 0, which starts them: a job follows when one of two places is free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from edgec.cost.neureka_places import Jobs, Lack, Lacks
from edgec.neureka.cycles import job_cycles
from edgec.neureka.job import fold_job, gemv_job, rows_job
from edgec.ops.matmul_w4a8 import bits_of
from edgec.ops.matmul_w4a8_neureka import mode_of

# Registers that a call's first job of a shape and its second one write anew, by what their places lack (`Places`). The
# second one is written while the engine works on the first.
REWRITES = {
    Lack.NOTHING: (0, 0),
    Lack.INPUTS: (230, 280),
    Lack.BEHIND_PIXELS: (250, 300),
    Lack.BEHIND_FOLD: (250, 300),
    Lack.FOLD: (270, 320),
    Lack.ROW: (380, 370),
    Lack.SAME_GRID: (390, 400),
    Lack.GRID: (370, 560),
}


@dataclass
class Queue:
    """Jobs in order, and when they end."""

    restart: float
    clock: float  # core 0's
    lengths: Sequence[float]
    rewrites: Mapping[int, float]  # before a job, where its place holds another shape
    ends: list[float] = field(default_factory=list)  # of jobs, after one that never was

    def begin(self) -> None:
        """Starts the first job."""
        self.clock += self.rewrites.get(0, 0.0)
        self.ends = [0.0, self.clock + self.lengths[0]]

    def start(self, until: int, allowed: int | None = None) -> None:
        """Starts jobs until so many are, none that is not allowed."""
        most = len(self.lengths) if allowed is None else min(allowed, len(self.lengths))
        for job in range(len(self.ends) - 1, min(until, most)):
            self.clock = max(self.clock, self.ends[-2]) + self.restart + self.rewrites.get(job, 0.0)
            self.ends.append(max(self.clock, self.ends[-1]) + self.lengths[job])


def rewrites(jobs: Sequence[Jobs], lacks: Sequence[Lacks]) -> dict[int, float]:
    """Cycles before jobs whose places hold another shape; jobs: those of each shape, in order."""
    found, at = dict[int, float](), 0
    for (_, count), own in zip(jobs, lacks, strict=True):
        found |= {at + i: REWRITES[lack][i] for i, lack in enumerate(own[:count])}
        at += count
    return {at: cycles for at, cycles in found.items() if cycles}


@lru_cache(maxsize=4096)
def row_job_cycles(name: str, inputs: int, channels: int) -> int:
    """Cycles of a job of one row, of a kernel's width and form."""
    if mode_of(name) == "3x3":
        return job_cycles(gemv_job(0, 0, 0, inputs, channels, bits_of(name)))
    return job_cycles(rows_job(0, 0, 0, (1, 1), inputs, channels, 8))


@lru_cache(maxsize=4096)
def fold_cycles(name: str, inputs: int, channels: int) -> int:
    """Cycles of a job of a row's folded inputs."""
    return job_cycles(fold_job(0, 0, 0, inputs, channels, bits_of(name)))
