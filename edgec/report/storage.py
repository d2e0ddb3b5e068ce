"""What the matrices of each role take: width, pattern, bytes with scales and places, and bits per weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgec.compress.rtn import role_of
from edgec.ir.graph import Graph, Node
from edgec.memory.plan import Plan
from edgec.ops.matmul_w4a8 import bits_of
from edgec.passes.join_projections import parts

ORDER = ("q", "k", "v", "qkv", "o", "gate", "up", "gate_up", "down", "embed", "head")  # joint ones beside their parts
BRANCHES = ("lora_a", "lora_b")  # modules beside a matrix; the report counts them apart


def storage_rows(plan: Plan, graph: Graph) -> list[dict[str, Any]]:
    """A row for each role, width and pattern. Every matrix counts once: a tied embedding is no head.

    Joint matrices count as what they are made of, under a role of their own.
    """
    sizes = {b.name: b.size for b in plan.buffers}
    first: dict[str, Node] = {}
    for node in graph.nodes:
        if "w" in node.inputs and node.inputs["w"].split(".")[-2] not in BRANCHES:
            first.setdefault(node.inputs["w"], node)
    rows: dict[tuple[int, int, str], dict[str, Any]] = {}
    for name, node in first.items():
        role, bits, pattern = role_of(name), _bits(node), _pattern(node)
        start = {"role": role, "bits": bits, "pattern": pattern, "matrices": 0, "weights": 0, "bytes": 0}
        row = rows.setdefault((ORDER.index(role), bits, pattern), start)
        row["matrices"] += len(parts(name))
        row["weights"] += graph.type_of(name).shape[0] * int(node.attrs["k"])
        row["bytes"] += sum(sizes[value] for side, value in node.inputs.items() if side == "w" or side[:2] == "w_")
    return [row | {"bits_per_weight": round(8 * row["bytes"] / row["weights"], 4)} for _, row in sorted(rows.items())]


def storage_cells(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The rows for a person, their heading first."""
    cells: list[tuple[str, ...]] = [("role", "stored as", "matrices", "bytes", "bits per weight")]
    for row in rows:
        form = f"{row['bits']} bits, {row['pattern'] or 'dense'}"
        cells.append((row["role"], form, str(row["matrices"]), f"{row['bytes']:,}", f"{row['bits_per_weight']:.2f}"))
    return cells


def _bits(node: Node) -> int:
    return int(node.attrs["bits"]) if "bits" in node.attrs else bits_of(node.op)


def _pattern(node: Node) -> str:
    """removed:of of packed codes, "" of dense ones."""
    return f"{node.attrs['removed']}:{node.attrs['of']}" if "of" in node.attrs else ""
