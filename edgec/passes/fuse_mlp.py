"""fuse_mlp: of a single row, gate and up with SiLU on N-EUREKA and the down that reads their result become one call.

The engine then works on down's first groups while the cores compute the activation's last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgec.cost.engine import call_cycles
from edgec.ir.graph import Attr, Graph, Node
from edgec.ops import find
from edgec.ops.matmul_w4a8 import bits_of
from edgec.ops.matmul_w4a8_mlp_neureka import DOWN, down_numbers, parts_of
from edgec.ops.matmul_w4a8_neureka import half, split_numbers
from edgec.ops.matmul_w4a8_silu_neureka import PARTS
from edgec.target import Target


def with_mlp(graph: Graph, nodes: list[Node], readers: Mapping[str, list[Node]], target: Target) -> list[Node]:
    """Each matmul of the accelerator that alone reads what one of gate and up gives, together with it, in its place.

    Only where their weights have one form and width, no bias comes between, all of down's inputs are the accelerator's,
    and one call takes less time than two.
    """
    writer = {v: node for node in nodes for v in node.outputs.values()}
    fused: dict[str, Node] = {}
    gone = set()
    for node in nodes:
        gated = writer.get(node.inputs.get("x", ""))
        if (
            gated is None
            or find(node.op).module != "matmul_w4a8_neureka"
            or {"bias", "w_tail", "w_fold"} & set(node.inputs)
        ):
            continue
        op = node.op.replace("_neureka", "_mlp_neureka")
        if parts_of(op) != (gated.op, node.op):
            continue
        between = set(gated.outputs.values())
        if any(readers.get(v, [node]) != [node] for v in between) or between & set(graph.outputs):
            continue
        if node.attrs["group_size"] != gated.attrs["out_group"]:
            continue
        if _pays(graph, gated, node, op, target):
            down = {DOWN[role]: v for role, v in node.inputs.items() if role in DOWN}
            attrs: dict[str, Attr] = dict(gated.attrs)
            fused[node.name] = Node(node.name, op, {**gated.inputs, **down}, node.outputs, attrs, gated.source)
            gone.add(gated.name)
    return [fused.get(node.name, node) for node in nodes if node.name not in gone]


def apart(graph: Graph, node: Node) -> list[Node]:
    """The matmuls, each of one matrix, that a node which has weights stands for: itself, as a rule."""
    if "down_w" not in node.inputs:
        return [node]
    ops, k = parts_of(node.op), graph.type_of(node.inputs["w_scale"]).shape[0] // PARTS
    down = {role: node.inputs[mine] for role, mine in DOWN.items() if mine in node.inputs}
    gated = {role: value for role, value in node.inputs.items() if role not in DOWN.values()}
    attrs: dict[str, Attr] = {"k": k, "group_size": node.attrs["out_group"]}
    return [replace(node, op=ops[0], inputs=gated), replace(node, op=ops[1], inputs=down, attrs=attrs)]


def _pays(graph: Graph, gated: Node, node: Node, op: str, target: Target) -> bool:
    """Whether one call takes less time than two, in tiles of half of what is left."""
    n, width = graph.type_of(node.outputs["y"]).shape[1], graph.type_of(gated.outputs["q"]).shape[1]
    k, group_size, out_group = (int(gated.attrs[key]) for key in ("k", "group_size", "out_group"))
    first = {"m": 1, "n": PARTS * width, "k": k, "group_size": group_size, "out_group": out_group}
    first |= {"tile": half(width), "first": half(width)}
    first |= split_numbers(graph.types_of(gated.inputs), gated.attrs, bits_of(gated.op))
    second = {"m": 1, "n": n, "k": width, "group_size": out_group, "tile": half(n), "first": half(n)}
    two = call_cycles(target, gated.op, first) + call_cycles(target, node.op, second)
    return call_cycles(target, op, first | down_numbers(op, width, n, out_group, half(n))) < two
