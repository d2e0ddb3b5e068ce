"""verify_graph: each rule of the IR, broken once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import tiny_models

from edgec.ir.graph import Graph, TensorType, Value
from edgec.ir.verify import GraphError, verify_graph
from edgec.ops.op import TypeRuleError


def edited(graph: Graph, name: str, **changes: object) -> int:
    """Change a node in place; its index."""
    at = next(i for i, n in enumerate(graph.nodes) if n.name == name)
    graph.nodes[at] = replace(graph.nodes[at], **changes)
    return at


def swap(graph: Graph) -> None:
    graph.nodes[1], graph.nodes[2] = graph.nodes[2], graph.nodes[1]


def unknown_input(graph: Graph) -> None:
    node = next(n for n in graph.nodes if n.name == "l0.kv")
    edited(graph, "l0.kv", inputs=node.inputs | {"x": "nobody"})


def missing_output(graph: Graph) -> None:
    node = next(n for n in graph.nodes if n.op == "rmsnorm_quantize")
    edited(graph, node.name, outputs=dict(list(node.outputs.items())[:1]))


def written_twice(graph: Graph) -> None:
    graph.nodes.append(graph.nodes[-1])


def writes_a_constant(graph: Graph) -> None:
    node = next(n for n in graph.nodes if n.op.startswith("matmul"))
    edited(graph, node.name, outputs={"y": "model.norm.weight"})


def wrong_type(graph: Graph) -> None:
    graph.values["l0.qkv"] = replace(graph.values["l0.qkv"], type=TensorType((1, 31), "f32"))


def output_never_written(graph: Graph) -> None:
    graph.values["ghost"] = Value("ghost", TensorType((1,), "f32"), "activation")
    graph.outputs.append("ghost")


BREAKS: dict[str, tuple[Callable[[Graph], None], str]] = {
    "order": (swap, "before any node writes it"),
    "unknown input": (unknown_input, "which no value declares"),
    "missing output": (missing_output, "must write"),
    "written twice": (written_twice, "written twice"),
    "writes a constant": (writes_a_constant, "written twice"),
    "wrong type": (wrong_type, "is declared"),
    "output never written": (output_never_written, "never written"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_rule_is_blamed(tiny: tiny_models.Planned, name: str) -> None:
    graph = copy.deepcopy(tiny.graphs["decode"])
    verify_graph(graph, "nothing")
    change, words = BREAKS[name]
    change(graph)
    with pytest.raises(GraphError, match=f"graph decode after breaking: .*{words}"):
        verify_graph(graph, "breaking")


def test_a_type_rule_that_refuses_is_not_swallowed(tiny: tiny_models.Planned) -> None:
    graph = copy.deepcopy(tiny.graphs["decode"])
    node = next(n for n in graph.nodes if n.name == "l0.kv")
    edited(graph, "l0.kv", attrs=node.attrs | {"head_dim": 7})
    with pytest.raises((GraphError, TypeRuleError)):
        verify_graph(graph, "breaking")


def test_users_and_kinds(tiny: tiny_models.Planned) -> None:
    graph = tiny.graphs["decode"]
    readers = {n.op for n in graph.users("l0.k_cache")}
    assert readers == {"rope_append", "attention"}
    assert [v.name for v in graph.of_kind("input")] == ["tokens"]
