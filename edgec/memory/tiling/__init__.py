"""How each op becomes kernel calls on pieces that fit: one file an op, named as the op's file in edgec/ops/.

A file defines `candidates(step)`: an iterator of functions that, given a Workspace, return the step's tiles. The
planner builds every candidate that fits and keeps the fastest. An op without a file is `whole`: one call on whole
operands, its numbers being the row count and the attributes.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator

from edgec.memory.streaming import Tile, Workspace
from edgec.memory.tiling.step import StepContext
from edgec.memory.tiling.whole import candidates as whole_candidates
from edgec.ops import find

Candidate = Callable[[Workspace], list[Tile]]


def candidates(step: StepContext) -> Iterator[Candidate]:
    """The tilings to try for a node."""
    name = f"{__name__}.{find(step.node.op).module}"
    if importlib.util.find_spec(name) is None:
        return whole_candidates(step)
    result: Iterator[Candidate] = importlib.import_module(name).candidates(step)
    return result
