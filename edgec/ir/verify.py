"""Graph verifier: run after lowering and after every pass, so that a broken graph is blamed on what broke it."""

from __future__ import annotations

from edgec.ir.graph import SWEEP, Graph
from edgec.ops import find


class GraphError(Exception):
    """The graph breaks a rule of the IR: a bug in lowering or in a pass, never a user's fault."""


def optional_outputs(op: str) -> set[str]:
    """Outputs that a node of this op may do without."""
    return {p.name for kernel in find(op).kernels for p in kernel.params if p.optional and p.kind == "out"}


def verify_graph(graph: Graph, after: str) -> None:
    """Check single assignment, definition before use, and every node's type rule. `after` names the culprit."""

    def fail(what: str) -> None:
        raise GraphError(f"graph {graph.name} after {after}: {what}")

    lasting = {v.name for v in graph.values.values() if v.kind != "activation"}
    defined = set(lasting)
    this_sweep: set[str] = set()
    for node in graph.nodes:
        if node.op == SWEEP:
            this_sweep = set()
        for role, name in node.inputs.items():
            if name not in graph.values:
                fail(f"node {node.name} reads {name} ({role}), which no value declares")
            if name not in defined:
                fail(f"node {node.name} reads {name} ({role}) before any node writes it")
            if name not in lasting and name not in this_sweep:
                fail(f"node {node.name} reads {name} ({role}) of another sweep, of which only states are left")
        expected = find(node.op).infer({role: graph.type_of(name) for role, name in node.inputs.items()}, node.attrs)
        if not set(expected) - optional_outputs(node.op) <= set(node.outputs) <= set(expected):
            fail(f"node {node.name} ({node.op}) must write {sorted(expected)}, it writes {sorted(node.outputs)}")
        for role, name in node.outputs.items():
            if name in defined:
                fail(f"{name} is written twice, the second time by {node.name}")
            if graph.type_of(name) != expected[role]:
                fail(f"{name} is declared {graph.type_of(name)}, {node.op} of {node.name} gives {expected[role]}")
            defined.add(name)
            this_sweep.add(name)
    for name in graph.outputs:
        if name not in defined:
            fail(f"output {name} is never written")
