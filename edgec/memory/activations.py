"""Homes of a program's activations: they share the compute memory by lifetime, and bytes where an op works in place."""

from __future__ import annotations

from collections.abc import Mapping

from edgec.ir.graph import Graph
from edgec.memory.homes import place
from edgec.memory.placement import blocks
from edgec.memory.plan import Buffer, Region
from edgec.ops import find
from edgec.target import Target

Homes = Mapping[str, Region]


def place_activations(
    graph: Graph, homes: Homes, permanent: list[Buffer], target: Target, in_place: bool
) -> tuple[dict[str, Region], list[Buffer], list[list[Buffer]]]:
    """Homes of the activations that have none yet, their buffers, and those that are alive at each step.

    in_place: results take the buffer of an input that nothing reads any more, where their op may overwrite it.
    """
    first, last = _lifetimes(graph)
    tenants: dict[str, list[str]] = {}
    for name, owner in (_shared(graph, homes, last) if in_place else _alone(graph)).items():
        tenants.setdefault(owner, []).append(name)
    found, placed, always = dict[str, Region](), list[Buffer](), blocks(permanent)
    alive: list[list[Buffer]] = [[] for _ in graph.nodes]
    values = [v for v in graph.of_kind("activation") if v.name not in homes and v.name in tenants]
    for value in sorted(values, key=lambda v: -v.type.nbytes):
        start, end = first[value.name], max(last[name] for name in tenants[value.name]) + 1
        levels = (target.compute,)
        wanted = Buffer(value.name, levels[0], 0, value.type.nbytes, "activation", graph.name, start, end)
        beside = {b.name: b for step in alive[start:end] for b in step}
        buffer = place(wanted, levels, [*always, *beside.values()], target)
        placed.append(buffer)
        for step in alive[start:end]:
            step.append(buffer)
        for name in tenants[value.name]:
            found[name] = Region(buffer.level, buffer.offset, graph.type_of(name).nbytes, name)
    return found, placed, alive


def _lifetimes(graph: Graph) -> tuple[dict[str, int], dict[str, int]]:
    """The step that makes each value, and the last that reads it."""
    first, last = dict[str, int](), dict[str, int]()
    for index, node in enumerate(graph.nodes):
        for name in node.inputs.values():
            last[name] = index
        for name in node.outputs.values():
            first[name] = last[name] = index
    return first, last | dict.fromkeys(graph.outputs, len(graph.nodes) - 1)


def _alone(graph: Graph) -> dict[str, str]:
    return {v.name: v.name for v in graph.of_kind("activation")}


def _shared(graph: Graph, homes: Homes, last: Mapping[str, int]) -> dict[str, str]:
    """The value whose buffer each activation uses: its own, or that of an input which its op may overwrite."""
    storage = _alone(graph)
    for index, node in enumerate(graph.nodes):
        role = find(node.op).in_place
        if role == "addend" and graph.rows > 1:
            continue  # tiles of columns: each is known to the checker by the span of its rows, which others share
        source = node.inputs.get(role, "")
        if source in storage and last[source] == index and source not in homes:
            (target,) = node.outputs.values()
            if graph.type_of(target) == graph.type_of(source) and target not in homes:
                storage[target] = storage[source]
    return storage
