"""Homes of what lives for good: large results, cache, weights and tables, which all programs of a plan share."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from edgec.ir.graph import Graph, Node, Value
from edgec.memory.placement import blocks, first_fit
from edgec.memory.plan import ALIGN, Buffer, Region, main
from edgec.neureka.engine import LINE
from edgec.ops import embed, find
from edgec.target import Target

UNBOUNDED = 1 << 60
NEW_ROWS = {"k_q": "k_cache", "k_q_scale": "k_scale", "v_q": "v_cache", "v_q_scale": "v_scale"}  # roles of kv_append
LARGE = 4  # an activation of one row that takes more than 1/LARGE of the compute memory lives elsewhere


def place_permanent(
    graphs: Mapping[str, Graph],
    target: Target,
    worth: Mapping[str, float] | None = None,
    near: Collection[str] = (),
) -> tuple[dict[str, Region], list[Buffer]]:
    """Large results, states and constants, which all programs share.

    Results too large for the compute memory come first, then the cache, then weights: those that an accelerator reads
    in their place, those that are worth most per byte, equals in order of use; tables of which only rows are read come
    last. near: constants and caches that stay in the compute memory, constants first: they are in its image.
    """
    graph = united(graphs)
    gathered = {n.inputs[r] for n in graph.nodes if n.op in embed.FORMS for r in embed.ROLES if r in n.inputs}
    streamed = {v for n in graph.nodes if n.op not in embed.FORMS for v in n.inputs.values()}
    lines = {n.inputs[r] for n in graph.nodes for r in kernel_streams(n) if r in n.inputs}
    large = [graph.values[name] for name in graph.outputs if is_large(graph.values[name], target)]
    states = sorted(graph.of_kind("state"), key=lambda v: not _is_cache(v))
    kept = [v for v in states if v.name in near]
    gain = worth or {}
    consts = sorted(
        graph.of_kind("const"),
        key=lambda v: (
            v.name not in lines,
            v.name in gathered and v.name not in streamed,
            -gain.get(v.name, 0.0),
        ),
    )
    homes: dict[str, Region] = {}
    buffers: list[Buffer] = []
    if target.reserved_bytes:
        buffers.append(Buffer("stacks", target.runtime.stack_level, 0, target.reserved_bytes, "stack"))
    taken = list(buffers)
    for value in [*large, *(v for v in states if v.name not in near), *consts, *kept]:
        levels, kind = levels_of(value, target)
        multiple = ALIGN
        if value.name in near:
            levels = (target.compute,)
        elif value.name in lines:
            levels, multiple = streaming_levels(target), LINE
        buffer = place(Buffer(value.name, levels[0], 0, value.type.nbytes, kind), levels, taken, target, multiple)
        buffers.append(buffer)
        taken = blocks([*taken, buffer])  # few, where buffers are many
        homes[value.name] = Region(buffer.level, buffer.offset, buffer.size, value.name)
    return homes, buffers


def united(graphs: Mapping[str, Graph]) -> Graph:
    """All that graphs share and each has, the main one's first."""
    first = main(graphs)
    found = Graph(first.name, first.rows, dict(first.values), list(first.nodes), list(first.outputs))
    for graph in graphs.values():
        if graph is not first:
            found.values |= {n: v for n, v in graph.values.items() if n not in found.values and v.kind != "activation"}
            found.nodes += graph.nodes
    return found


def rows_in_place(graph: Graph, homes: Mapping[str, Region], target: Target) -> dict[str, Region]:
    """Homes of new rows of a cache that stays in the compute memory: they are computed where they belong.

    A target that prefers that memory for the cache copies rows inside it.
    """
    if target.compute in target.placement.kv:
        return {}
    rows: dict[str, Region] = {}
    for node in graph.nodes:
        for role, cache in NEW_ROWS.items():
            if role in node.outputs and homes[node.inputs[cache]].level == target.compute:
                home = homes[node.inputs[cache]]
                row_bytes = graph.type_of(home.value).row_bytes
                rows[node.outputs[role]] = Region(home.level, home.offset, home.size, home.value, 0, row_bytes)
    return rows


def kernel_streams(node: Node) -> tuple[str, ...]:
    """Roles of a node's constants that an accelerator reads where they lie."""
    return tuple(role for k in find(node.op).kernels for role in k.streamed)


def streaming_levels(target: Target) -> tuple[str, ...]:
    """The memories that accelerators read weights from, as the target prefers them for weights."""
    read = {level for a in target.accelerators for level in a.weights}
    return tuple(level for level in target.placement.weights if level in read)


def is_large(value: Value, target: Target) -> bool:
    """One row that would take more than 1/LARGE of the compute memory."""
    capacity = target.memory_by_name[target.compute].capacity_bytes
    return value.type.shape[0] == 1 and value.type.nbytes * LARGE > capacity


def _is_cache(value: Value) -> bool:
    return "_cache" in value.name


def levels_of(value: Value, target: Target) -> tuple[tuple[str, ...], str]:
    """Levels in order of preference for a value that lives for good, and its buffer's kind."""
    if value.name.endswith(".rows"):  # of a whole text: as large as a layer's cache
        return target.placement.kv, "state"
    if value.kind == "state":
        return (target.placement.kv, "kv") if _is_cache(value) else ((target.compute,), "state")
    if value.kind == "activation":
        return target.placement.large, "activation"
    if value.name.endswith(".table"):
        return target.placement.weights, "table"
    side = value.name.endswith((".scale", ".zero", ".minimum"))
    return target.placement.weights, "scale" if side else "weight"


def place(
    buffer: Buffer, levels: tuple[str, ...], placed: list[Buffer], target: Target, multiple: int = ALIGN
) -> Buffer:
    """The buffer at its first fitting offset in the first level that has room, else behind the last level's end."""
    for level in levels:
        moved = Buffer(buffer.name, level, 0, buffer.size, buffer.kind, buffer.program, buffer.start, buffer.end)
        whole, data = target.memory_by_name[level].capacity_bytes, target.data_bytes(level)
        capacity = whole if buffer.program and level == target.placement.program else max(0, data)
        offset = first_fit(moved, placed, 0, capacity, multiple)
        if offset is None and level == levels[-1]:
            # Behind all else, across the end: what sticks out is what is missing. The program's bytes stay free.
            floor = 0 if data == whole else whole if data < 0 else capacity
            offset = first_fit(moved, placed, floor, UNBOUNDED, multiple)
        if offset is not None:
            return Buffer(
                buffer.name, level, offset, buffer.size, buffer.kind, buffer.program, buffer.start, buffer.end
            )
    raise AssertionError("a buffer needs at least one level")
