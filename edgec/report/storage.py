"""What the matrices of each role take: width, form, bytes with scales and places, and bits per weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgec.frontend.structure import matrix_of, role_of
from edgec.ir.graph import Graph, Node
from edgec.memory.plan import Plan
from edgec.passes.join_projections import parts
from edgec.report.encoding import elements, form_of, matrices, stored_bits

ORDER = ("q", "k", "v", "qkv", "o", "gate", "up", "gate_up", "down", "embed", "head")  # joint ones beside their parts
BRANCHES = ("lora_a", "lora_b")  # modules beside a matrix; the report counts them apart


def storage_rows(plan: Plan, graph: Graph) -> list[dict[str, Any]]:
    """A row for each role, width, pattern and form. Every matrix counts once: a tied embedding is no head.

    Joint matrices count as what they are made of, under a role of their own.
    """
    sizes = {b.name: b.size for b in plan.buffers}
    rows: dict[tuple[int, int, str, str], dict[str, Any]] = {}
    for name, node in matrices(graph).items():
        if name.split(".")[-2] in BRANCHES:
            continue
        role, bits, pattern, form = role_of(name), stored_bits(node), _pattern(node), form_of(node)
        if matrix_of(name) != name:
            form = f"{form} factors".strip()
        start = {"role": role, "bits": bits, "pattern": pattern, "form": form, "matrices": 0, "weights": 0, "bytes": 0}
        row = rows.setdefault((ORDER.index(role), bits, pattern, form), start)
        row["matrices"] += len(parts(name))
        row["weights"] += elements(graph, node)
        row["bytes"] += sum(sizes[value] for side, value in node.inputs.items() if side == "w" or side[:2] == "w_")
    return [row | {"bits_per_weight": round(8 * row["bytes"] / row["weights"], 4)} for _, row in sorted(rows.items())]


def storage_cells(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The rows for a person, their heading first."""
    cells: list[tuple[str, ...]] = [("role", "stored as", "matrices", "bytes", "bits per weight")]
    for row in rows:
        form = f"{row['bits']} bits, {row['pattern'] or row['form'] or 'dense'}"
        cells.append((row["role"], form, str(row["matrices"]), f"{row['bytes']:,}", f"{row['bits_per_weight']:.2f}"))
    return cells


def _pattern(node: Node) -> str:
    """removed:of of packed codes, "" of dense ones."""
    return f"{node.attrs['removed']}:{node.attrs['of']}" if "of" in node.attrs else ""
