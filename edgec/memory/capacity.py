"""The longest context that fits: found by planning, not by formula."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgec.ir.graph import Graph
from edgec.memory.homes import place_permanent
from edgec.memory.planner import plan
from edgec.ops.attention import MAX_CONTEXT
from edgec.target import Target

MakeGraphs = Callable[[int, int], Mapping[str, Graph]]  # (context, layers) to graphs that include "decode"


def longest_context(make: MakeGraphs, layers: int, target: Target, limit: int) -> int:
    """The largest context up to `limit` with which the model decodes on the target; 0 if none does.

    Steps of equal layers are planned alike, so the compute memory is judged by a model of one layer; the cache and the
    weights of all layers are placed in full.
    """
    low, high = 0, min(limit, MAX_CONTEXT)
    while low < high:
        context = (low + high + 1) // 2
        if fits(make, context, layers, target):
            low = context
        else:
            high = context - 1
    return low


def fits(make: MakeGraphs, context: int, layers: int, target: Target) -> bool:
    """Whether the model decodes on the target with this context; judged as longest_context does."""
    _, buffers = place_permanent(make(context, layers), target)
    for b in buffers:
        if b.offset + b.size > target.memory_by_name[b.level].capacity_bytes:
            return False
    return not plan(make(context, 1), target, context).deficits()
