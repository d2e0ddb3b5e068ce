"""The text form of graphs: back and forth, and every broken line named."""

from __future__ import annotations

import pytest
import tiny_models

from edgec.errors import OutputError
from edgec.ir.graph import TensorType
from edgec.ir.text import parse_graph, print_graph


@pytest.mark.parametrize("name", ["prefill", "decode"])
def test_round_trip(tiny: tiny_models.Planned, name: str) -> None:
    text = print_graph(tiny.graphs[name])
    assert parse_graph(text) == tiny.graphs[name]
    assert print_graph(parse_graph(text)) == text
    nodes = [line for line in text.splitlines() if line.startswith("node ")]
    assert len(nodes) == len(tiny.graphs[name].nodes)


def test_a_graph_may_return_nothing() -> None:
    text = "graph g rows=1\nconst c : f32[2]\nreturn\n"
    assert parse_graph(text).outputs == [] and print_graph(parse_graph(text)) == text


def test_types_print_as_they_parse() -> None:
    assert str(TensorType((2, 3), "i8")) == "i8[2x3]"
    assert TensorType((2, 3), "i16").nbytes == 12
    assert TensorType((), "f32").nbytes == 4
    graph = parse_graph("graph g rows=1\nconst c : f32[]\nreturn c\n")
    assert graph.type_of("c") == TensorType((), "f32")


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "const w : f32[2x]y",
        "node a = add(a=x, b=y) -> y=z",
        "value w : f32[2]",
    ],
)
def test_a_broken_line_is_named(line: str) -> None:
    with pytest.raises(OutputError, match="line 2 of graph g") as caught:
        parse_graph(f"graph g rows=1\n{line}\n")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "graph g", "grph g rows=1\n", "\n"])
def test_a_broken_head_is_named(text: str) -> None:
    with pytest.raises(OutputError, match="starts with"):
        parse_graph(text)
