"""unused_outputs: results that nobody reads and that a kernel need not give (Param.optional) are not computed.

Sums of groups are such: cores need them for weights stored with a zero point, N-EUREKA does not.
"""

from __future__ import annotations

from dataclasses import replace

from edgec.ir.graph import Graph
from edgec.ir.verify import optional_outputs, verify_graph


def unused_outputs(graph: Graph) -> Graph:
    """A new graph without them."""
    read = {v for node in graph.nodes for v in node.inputs.values()} | set(graph.outputs)
    nodes, unread = [], set()
    for node in graph.nodes:
        unused = {role: v for role, v in node.outputs.items() if v not in read and role in optional_outputs(node.op)}
        nodes.append(replace(node, outputs={r: v for r, v in node.outputs.items() if r not in unused}))
        unread |= set(unused.values())
    values = {name: v for name, v in graph.values.items() if name not in unread}
    result = Graph(graph.name, graph.rows, values, nodes, list(graph.outputs))
    verify_graph(result, "unused_outputs")
    return result
