"""The longest context that fits: found by planning, not by formula."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from edgec.ir.graph import Graph
from edgec.memory.homes import place_permanent, united
from edgec.memory.planner import short_levels
from edgec.memory.repeat import Decisions
from edgec.ops.attention import MAX_CONTEXT
from edgec.target import Target

MakeGraphs = Callable[[int, int], Mapping[str, Graph]]  # (context, layers) to graphs that share what lives for good


def longest_context(make: MakeGraphs, layers: int, target: Target, limit: int, known: Decisions | None = None) -> int:
    """The largest context up to `limit` with which the model decodes on the target; 0 if none does.

    Steps of equal layers are planned alike, so the compute memory is judged by a model of one layer; the cache and the
    weights of all layers are placed in full.
    """
    low, high = 0, min(limit, MAX_CONTEXT)
    model = Capacity(make, layers, target, known)
    if model.held_bytes(1) > capacity_bytes(target):
        return 0
    while low < high:
        context = (low + high + 1) // 2
        if model.fits(context):
            low = context
        else:
            high = context - 1
    return low


def fits(make: MakeGraphs, context: int, layers: int, target: Target, known: Decisions | None = None) -> bool:
    """Whether the model decodes on the target with this context; judged as longest_context does."""
    return Capacity(make, layers, target, known).fits(context)


def capacity_bytes(target: Target) -> int:
    """Bytes of all memories together."""
    return sum(m.capacity_bytes for m in target.memories)


class Capacity:
    """A model on a target, asked for several contexts."""

    def __init__(self, make: MakeGraphs, layers: int, target: Target, known: Decisions | None = None) -> None:
        self.make, self.target = make, target
        self.known = known or Decisions(target)
        self.whole, self.next = (united(make(context, layers)) for context in (1, 2))

    def held_bytes(self, context: int) -> int:
        """Bytes of constants and cache."""
        return sum(v.type.nbytes for v in self.stretched(context).values.values() if v.kind in ("const", "state"))

    def fits(self, context: int) -> bool:
        """Whether the model decodes with this context."""
        if self.held_bytes(context) > capacity_bytes(self.target):
            return False
        _, buffers = place_permanent({self.whole.name: self.stretched(context)}, self.target)
        for b in buffers:
            if b.offset + b.size > self.target.memory_by_name[b.level].capacity_bytes:
                return False
        return not short_levels(self.make(context, 1), self.target, context, self.known)

    def stretched(self, context: int) -> Graph:
        """The graph of all layers: those of two contexts differ in the rows of the cache and of tables by position."""
        values = dict(self.whole.values)
        for name, value in values.items():
            if value.type != self.next.type_of(name):
                values[name] = replace(value, type=replace(value.type, shape=(context, *value.type.shape[1:])))
        return replace(self.whole, values=values)
