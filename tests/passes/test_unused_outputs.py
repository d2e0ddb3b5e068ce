"""unused_outputs: sums that nobody reads are gone, those that a matmul reads stay, and nothing else is touched."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny_models

from edgec.ir.graph import Graph
from edgec.ir.verify import GraphError, optional_outputs, verify_graph
from edgec.lower.llama import constants
from edgec.lower.programs import programs, ready
from edgec.passes.unused_outputs import unused_outputs
from edgec.target import load_target

WIDE = {"hidden_dim": 252, "ffn_dim": 504, "head_dim": 12, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 97}


def decode(group_size: int) -> Graph:
    """A token's graph for Siracusa; groups of 252 go to the accelerator."""
    source = tiny_models.checkpoint(tiny_models.config(**WIDE))
    target = load_target("siracusa")
    lowered = ready(tiny_models.planned(source, made=tiny_models.recipe(group_size=group_size)).model, target, 24)
    return programs(lowered, constants(lowered, 24), {"prefill": 4, "decode": 1}, 24, target)["decode"]


@pytest.mark.parametrize(("group_size", "needed"), [(252, False), (32, True)])
def test_sums_stay_where_a_matmul_reads_them(group_size: int, needed: bool) -> None:
    graph = decode(group_size)
    quantised = [node for node in graph.nodes if "sums" in optional_outputs(node.op)]
    assert len(quantised) > 4 and all(("sums" in node.outputs) == needed for node in quantised)
    written = {v for node in graph.nodes for v in node.outputs.values()}
    assert written == {v.name for v in graph.of_kind("activation") if v.name != "tokens"}


def test_only_what_a_kernel_need_not_give_may_be_missing() -> None:
    graph = decode(252)
    assert unused_outputs(graph).nodes == graph.nodes
    index, node = next((i, n) for i, n in enumerate(graph.nodes) if "scale" in n.outputs)
    broken = Graph(graph.name, graph.rows, graph.values, list(graph.nodes), graph.outputs)
    broken.nodes[index] = replace(node, outputs={r: v for r, v in node.outputs.items() if r != "scale"})
    with pytest.raises(GraphError, match="must write"):
        verify_graph(broken, "a test")
