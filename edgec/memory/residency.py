"""Which weights deserve the memories near the engine: those that save most time per byte there.

A knapsack: what lies near costs bytes of it, and saves what its step takes longer when the weights come from far. Both
come from planned steps, so weights that stream behind a long computation are seen to save nothing. Weights are
taken by saving per byte; what is lost against the best choice is less than the one that no longer fits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from edgec.ir.graph import Graph, Node
from edgec.target import Target

Cycles = Callable[[str, list[int]], Mapping[int, float]]  # level of what is weighed, nodes -> cycles of their steps


def representatives(graph: Graph, names: Collection[str]) -> dict[object, list[int]]:
    """Nodes that read some of the named values, by what their cost depends on: op, attributes and types."""
    alike: dict[object, list[int]] = {}
    wanted = frozenset(names)
    for index, node in enumerate(graph.nodes):
        if not wanted.isdisjoint(node.inputs.values()):
            alike.setdefault(_signature(graph, node), []).append(index)
    return alike


def _signature(graph: Graph, node: Node) -> object:
    types = tuple((role, graph.type_of(v)) for role, v in node.inputs.items())
    return node.op, tuple(sorted(node.attrs.items())), types


def savings(graph: Graph, nearer: str, farther: str, cycles: Cycles, names: Collection[str]) -> dict[str, float]:
    """Cycles of a token that each of the named values saves per byte if it lies in one level rather than another.

    Those that one step reads share what the step saves; what several steps read adds up.
    """
    groups = list(representatives(graph, names).values())
    first = [members[0] for members in groups]
    near, far = cycles(nearer, first), cycles(farther, first)
    saved: dict[str, float] = {}
    for members in groups:
        gain = max(0.0, far[members[0]] - near[members[0]])
        for index in members:
            shared = {v for v in graph.nodes[index].inputs.values() if v in names}
            # What a gather or a look-up by position reads is little of the table, but its step shows only that little.
            size = sum(graph.type_of(v).nbytes for v in shared)
            for name in shared:
                saved[name] = saved.get(name, 0.0) + gain / max(1, size)
    return saved


def spills(graph: Graph, target: Target) -> bool:
    """Whether constants and cache are more than the on-chip levels for weights hold."""
    needed = sum(v.type.nbytes for v in graph.values.values() if v.kind == "const")
    cache = sum(v.type.nbytes for v in graph.of_kind("state"))
    levels = [target.memory_by_name[name] for name in target.placement.weights]
    room = sum(m.capacity_bytes for m in levels if m.on_chip)
    shared = target.placement.kv[0] in target.placement.weights
    return len(levels) > 1 and needed + (cache if shared else 0) > room
