"""What the planner does beyond a plan that works; each can be left out, to see what it is worth."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choices:
    """All on, but for `edgec build --explain`.

    residency     weights near the engine by what that saves, rather than in order of use
    in_place      results in the buffer of an input that nothing reads any more
    tiling        the fastest of a step's tilings, rather than the coarsest that fits
    early_loads   a step's first weights during the step before
    compaction    all buffers placed again once every step is planned
    """

    residency: bool = True
    in_place: bool = True
    tiling: bool = True
    early_loads: bool = True
    compaction: bool = True
