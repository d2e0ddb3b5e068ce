"""Matrices in the form of an accelerator: how many, in which form, and what that takes beside packed codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgec.ir.graph import Graph, Node
from edgec.memory.plan import Plan
from edgec.ops.matmul_w4a8 import bits_of
from edgec.ops.matmul_w4a8_neureka import mode_of
from edgec.packing import row_bytes
from edgec.passes.fuse_mlp import apart
from edgec.passes.join_projections import parts


def form_of(node: Node) -> str:
    """3x3 or 1x1 of a matrix that is encoded for N-EUREKA, "" of packed codes."""
    return mode_of(node.op) if "_neureka" in node.op else ""


def stored_bits(node: Node) -> int:
    """Width in which a node's weights are stored."""
    return int(node.attrs["bits"]) if "bits" in node.attrs else bits_of(node.op)


def code_bits(name: str, node: Node, widths: Mapping[str, int]) -> int | None:
    """Width of the codes of a node's matrix; None if it is not known. 1x1 form stores narrower ones in 8 bits.

    widths: of the model's matrices as they were quantised; joint ones are of one width.
    """
    known = stored_bits(node) if form_of(node) != "1x1" else None
    return widths.get(parts(name)[0], known)


def elements(graph: Graph, node: Node) -> int:
    """Weights of a node's matrix. Scales have a row for each output channel, which encoded codes have not."""
    return graph.type_of(node.inputs["w_scale"]).shape[0] * int(node.attrs["k"])


def matrices(graph: Graph) -> dict[str, Node]:
    """The graph's matrices by name, each with the first node that reads it: a tied embedding is no head.

    A node that has two matrices counts as two.
    """
    found: dict[str, Node] = {}
    for node in graph.nodes:
        for one in apart(graph, node):
            if "w" in one.inputs:
                found.setdefault(one.inputs["w"], one)
    return found


def encoded_bytes(plan: Plan, graph: Graph) -> dict[tuple[str, ...], int]:
    """Bytes with scales of each matrix that is encoded for the accelerator, by the names of the tensors in it."""
    sizes = {b.name: b.size for b in plan.buffers}
    return {
        parts(name): sum(
            sizes[node.inputs[role]] for role in ("w", "w_scale", "w_tail", "w_fold") if role in node.inputs
        )
        for name, node in matrices(graph).items()
        if form_of(node)
    }


def encoding(plan: Plan, graph: Graph, widths: Mapping[str, int]) -> dict[str, Any] | None:
    """What is encoded for the accelerator; None if nothing is. Bytes are those of codes without scales.

    packed_bytes is None if the width of some codes is not known.
    """
    sizes = {b.name: b.size for b in plan.buffers}
    counts: dict[str, int] = {}
    taken, packed = 0, list[int | None]()
    for name, node in matrices(graph).items():
        if not (form := form_of(node)):
            continue
        counts[form] = counts.get(form, 0) + len(parts(name))
        taken += sum(sizes[node.inputs[role]] for role in ("w", "w_tail", "w_fold") if role in node.inputs)
        k, bits = int(node.attrs["k"]), code_bits(name, node, widths)
        rows = elements(graph, node) // k
        packed.append(None if bits is None else rows * row_bytes(k, bits, int(node.attrs["group_size"])))
    if not counts:
        return None
    known = [size for size in packed if size is not None]
    return {
        "accelerator": next(a.name for a in plan.target.accelerators if a.kind == "neureka"),
        "matrices": counts,
        "bytes": taken,
        "packed_bytes": sum(known) if len(known) == len(packed) else None,
    }


def encoding_line(found: Mapping[str, Any]) -> str:
    """It as a sentence."""
    forms = " and ".join(f"{count} in {form} form" for form, count in sorted(found["matrices"].items()))
    text = f"matrices encoded for {found['accelerator']}: {forms}, {found['bytes']:,} B"
    if (packed := found["packed_bytes"]) is None:
        return f"{text}; 1x1 form stores every weight in 8 bits"
    more = found["bytes"] - packed
    return f"{text} where packed codes take {packed:,} B: {abs(more):,} B {'more' if more >= 0 else 'less'}"
