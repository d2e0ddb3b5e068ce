"""The model as the device stores it: bytes, bits per weight, widths, low-rank branches, forms of its matrices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgec.ir.graph import Graph
from edgec.memory.plan import Plan
from edgec.ops.matmul_w4a8 import bits_of
from edgec.passes.join_projections import parts
from edgec.report.encoding import code_bits, elements, encoded_bytes, encoding, matrices, stored_bits
from edgec.report.sparsity import sparsity_rows
from edgec.report.storage import storage_rows

_BRANCH = re.compile(r"\.lora_[ab]\.weight(\.scale)?$")


def model_facts(meta: Mapping[str, Any], plan: Plan, graph: Graph) -> dict[str, Any]:
    """`meta` is a build.json; the size counts matrices, norms and biases, scales, zeros and minima."""
    facts, widths = meta["model"], meta.get("widths", {})
    sizes = {kind: sum(b.size for b in plan.buffers if b.kind == kind) for kind in ("weight", "scale")}
    stored = sum(sizes.values())
    kept = _names(graph) - meta["quantization"].keys() if meta.get("weights_read", True) else ()
    return {
        **facts,
        "weight_bytes": stored,
        "scale_bytes": sizes["scale"],
        "bits_per_weight": round(8 * stored / int(facts["parameters"]), 4),
        "weights_by_bits": _weights_by_bits(graph, widths),
        "matrices_kept": len(kept),
        "branches": _branches(plan, graph),
        "encoding": encoding(plan, graph, widths),
        "sparsity": sparsity_rows(meta.get("sparsity", {}), encoded_bytes(plan, graph)),
        "storage": storage_rows(plan, graph),
    }


def _branches(plan: Plan, graph: Graph) -> dict[str, Any] | None:
    """The low-rank branches beside matrices: how many, their ranks, widths in bits, and bytes with scales."""
    inner = [node for node in graph.nodes if node.inputs.get("w", "").endswith(".lora_a.weight")]
    if not inner:
        return None
    ranks = sorted(graph.type_of(node.inputs["w"]).shape[0] for node in inner)
    return {
        "count": len(inner),
        "rank_min": ranks[0],
        "rank_max": ranks[-1],
        "bits": sorted({bits_of(node.op) for node in inner}),
        "bytes": sum(b.size for b in plan.buffers if b.kind in ("weight", "scale") and _BRANCH.search(b.name)),
    }


def _names(graph: Graph) -> set[str]:
    """Names of the model's matrices, branches left out."""
    return {part for name in matrices(graph) if not _BRANCH.search(name) for part in parts(name)}


def _weights_by_bits(graph: Graph, widths: Mapping[str, int]) -> dict[str, int]:
    """How many matrix elements have codes of each width; a matrix that two nodes share counts once."""
    result: dict[str, int] = {}
    for name, node in matrices(graph).items():
        width = str(code_bits(name, node, widths) or stored_bits(node))
        result[width] = result.get(width, 0) + elements(graph, node)
    return result
