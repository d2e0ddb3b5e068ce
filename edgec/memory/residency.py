"""Which weights deserve the memories near the engine: those that save most time per byte there.

A knapsack: what lies near costs bytes of it, and saves what its step takes longer when the weights come from far. Both
come from planned steps, so weights that stream behind a long computation are seen to save nothing. Weights are
taken by saving per byte; what is lost against the best choice is less than the one that no longer fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgec.ir.graph import Graph, Node
from edgec.memory.placement import align
from edgec.memory.plan import Plan
from edgec.ops import find
from edgec.target import Target

STREAMED = ("w", "w_scale", "w_zero", "w_min", "w_pos", "bias", "gain")  # operands whose slots constants pass through
SLOT_BYTES = 4096  # left for the slots of constants that stay outside

Cycles = Callable[[str, list[int]], Mapping[int, float]]  # level of all constants, nodes -> cycles of their steps


def representatives(graph: Graph) -> dict[object, list[int]]:
    """Nodes that read constants, by what their cost depends on: op, attributes and types."""
    alike: dict[object, list[int]] = {}
    for index, node in enumerate(graph.nodes):
        if any(graph.values[v].kind == "const" for v in node.inputs.values()):
            alike.setdefault(_signature(graph, node), []).append(index)
    return alike


def _signature(graph: Graph, node: Node) -> object:
    types = tuple((role, graph.type_of(v)) for role, v in node.inputs.items())
    return node.op, tuple(sorted(node.attrs.items())), types


def savings(graph: Graph, nearer: str, farther: str, cycles: Cycles) -> dict[str, float]:
    """Cycles of a token that each constant saves per byte if it lies in one level rather than another.

    Constants of one step share what the step saves; one that several steps read adds up.
    """
    groups = list(representatives(graph).values())
    first = [members[0] for members in groups]
    near, far = cycles(nearer, first), cycles(farther, first)
    saved: dict[str, float] = {}
    for members in groups:
        gain = max(0.0, far[members[0]] - near[members[0]])
        for index in members:
            consts = {v for v in graph.nodes[index].inputs.values() if graph.values[v].kind == "const"}
            # What a gather or a look-up by position reads is little of the table, but its step shows only that little.
            size = sum(graph.type_of(v).nbytes for v in consts)
            for name in consts:
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


def near_budget(plan: Plan) -> int:
    """Bytes of the compute memory that constants could have for good: what decoding leaves beside its activations and
    scratch. Prefill takes smaller tiles then."""
    target = plan.target
    always = sum(align(b.size) for b in plan.buffers if b.level == target.compute)
    program = plan.programs["decode"]
    alive = [0] * (len(program.steps) + 1)
    for b in program.buffers:
        if b.level == target.compute and b.name.partition(".slot")[0] not in STREAMED:
            for step in range(b.start, b.end):
                alive[step] += align(b.size)
    return target.memory_by_name[target.compute].capacity_bytes - always - max(alive) - SLOT_BYTES


def elsewhere(graph: Graph) -> set[str]:
    """Constants that never lie in the compute memory: tables of which rows are read, what an accelerator streams."""
    rows = {v for n in graph.nodes if n.op in ("embed", "rope") for v in n.inputs.values()}
    return rows | {n.inputs[r] for n in graph.nodes for k in find(n.op).kernels for r in k.streamed}


def nearest(graph: Graph, target: Target, worth: Mapping[str, float], budget: int) -> frozenset[str]:
    """Constants that save most time per byte in the compute memory, as many as the budget holds."""
    outside = elsewhere(graph)
    chosen: set[str] = set()
    for value in sorted(graph.of_kind("const"), key=lambda v: -worth.get(v.name, 0.0)):
        size = align(value.type.nbytes)
        if value.name not in outside and worth.get(value.name, 0.0) > 0 and size <= budget:
            chosen.add(value.name)
            budget -= size
    return frozenset(chosen)
