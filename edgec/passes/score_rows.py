"""score_rows: a prefill graph that yields the logits of every row instead of sampling after the last one.

What perplexity needs. The head then runs on all rows, so such a graph is for the reference, not for a device.
"""

from __future__ import annotations

from dataclasses import replace

from edgec.ir.graph import Graph, Value
from edgec.ir.verify import verify_graph
from edgec.ops import find


def score_rows(graph: Graph) -> Graph:
    """A new graph without last_row and sample, types inferred anew; its output is the logits of all rows."""
    renamed: dict[str, str] = {}
    result = Graph("score", graph.rows, {n: v for n, v in graph.values.items() if v.kind != "activation"})
    for node in graph.nodes:
        inputs = {role: renamed.get(name, name) for role, name in node.inputs.items()}
        if node.op == "last_row":
            renamed[node.outputs["y"]] = inputs["x"]
        elif node.op != "sample":
            types = find(node.op).infer({r: result.type_of(n) for r, n in inputs.items()}, node.attrs)
            for role, name in node.outputs.items():
                result.values[name] = Value(name, types[role], "activation", graph.values[name].source)
            result.nodes.append(replace(node, inputs=inputs))
    result.outputs = [graph.outputs[0]]
    verify_graph(result, "score_rows")
    return result
