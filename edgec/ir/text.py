"""Graph ⇄ text: one value or node a line, for people, golden tests and the output folder.

graph decode rows=1
const w : u8[64x32] @model.layers.0.self_attn.q_proj
node q = matmul_w4a8(x=xq, w=w) -> y=q {k=64, n=64} @model.layers.0.self_attn.q_proj
return logits
"""

from __future__ import annotations

import json
import re

from edgec.errors import OutputError
from edgec.ir.graph import Attr, Graph, Kind, Node, TensorType, Value

_VALUE = re.compile(r"^(input|const|state|activation) (\S+) : (\w+)\[([\dx]*)\](?: @(\S*))?$")
_NODE = re.compile(r"^node (\S+) = (\w+)\((.*?)\) -> (.*?) \{(.*)\}(?: @(\S*))?$")


def print_graph(graph: Graph) -> str:
    """The text form of a graph; `parse_graph` reads it back to an equal graph."""
    lines = [f"graph {graph.name} rows={graph.rows}"]
    for v in graph.values.values():
        lines.append(f"{v.kind} {v.name} : {v.type}" + (f" @{v.source}" if v.source else ""))
    for n in graph.nodes:
        ins = ", ".join(f"{role}={name}" for role, name in n.inputs.items())
        outs = ", ".join(f"{role}={name}" for role, name in n.outputs.items())
        attrs = ", ".join(f"{key}={json.dumps(value)}" for key, value in n.attrs.items())
        lines.append(f"node {n.name} = {n.op}({ins}) -> {outs} {{{attrs}}}" + (f" @{n.source}" if n.source else ""))
    lines.append(" ".join(["return", ", ".join(graph.outputs)]).rstrip())
    return "\n".join(lines) + "\n"


def parse_graph(text: str) -> Graph:
    """Read the text form. Raises OutputError naming the first line that is not of the grammar."""
    lines = text.splitlines()
    head = re.match(r"^graph (\S+) rows=(\d+)$", lines[0] if lines else "")
    if not head:
        raise OutputError("a graph's text starts with 'graph NAME rows=N'.")
    graph = Graph(head[1], int(head[2]))
    for number, line in enumerate(lines[1:], start=2):
        if value := _VALUE.match(line):
            shape = tuple(int(d) for d in value[4].split("x")) if value[4] else ()
            kind: Kind = value[1]  # type: ignore[assignment]  # the pattern lists the kinds
            graph.values[value[2]] = Value(value[2], TensorType(shape, value[3]), kind, value[5] or "")
        elif node := _NODE.match(line):
            graph.nodes.append(Node(node[1], node[2], _pairs(node[3]), _pairs(node[4]), _attrs(node[5]), node[6] or ""))
        elif line == "return" or line.startswith("return "):
            graph.outputs = line[7:].split(", ") if line[7:] else []  # a graph may leave states alone
        else:
            raise OutputError(f"line {number} of graph {graph.name} is neither a value, a node nor 'return': {line!r}.")
    return graph


def _pairs(text: str) -> dict[str, str]:
    return {key: value for key, _, value in (item.partition("=") for item in text.split(", "))} if text else {}


def _attrs(text: str) -> dict[str, Attr]:
    return {k: json.loads(v) for k, v in _pairs(text).items()}
