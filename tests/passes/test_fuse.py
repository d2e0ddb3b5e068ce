"""fuse leaves the bits alone, whatever it joins, and joins only what one call does no slower."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny_models

from edgec.ir.graph import Graph, Node
from edgec.lower.llama import constants
from edgec.lower.programs import programs, ready
from edgec.memory.choices import ALL
from edgec.passes.fuse import fuse
from edgec.simulate.reference import ReferenceRunner
from edgec.target import Target, load_target

FUSIONS = ("norm_quantize", "silu_quantize", "rope_append", "residual")
CONTEXT = 24


def chip(cores: int) -> Target:
    """Siracusa with so many cores; with one, a call that quantises has no cores to leave idle."""
    found = tiny_models.plain(load_target("siracusa"))
    return replace(found, engines=tuple(replace(e, cores=cores) for e in found.engines))


@pytest.fixture(scope="module")
def target() -> Target:
    return chip(8)


@pytest.fixture(scope="module")
def model() -> tiny_models.QuantizedModel:
    return tiny_models.planned(tiny_models.checkpoint(tiny_models.config())).model


def graphs(model: tiny_models.QuantizedModel, target: Target, *fusions: str, join: bool = True) -> dict[str, Graph]:
    choices = replace(ALL, **{name: name in fusions for name in FUSIONS}, join=join)
    lowered = ready(model, None, CONTEXT, choices)
    consts = constants(lowered, CONTEXT)
    return programs(lowered, consts, {"prefill": 4, "decode": 1}, CONTEXT, target, choices)


def answers(model: tiny_models.QuantizedModel, made: dict[str, Graph], join: bool = True) -> list[bytes]:
    """Logits of a prefill that ends in the middle of a chunk, and of some decodes."""
    lowered = ready(model, None, CONTEXT, replace(ALL, join=join))
    runner = ReferenceRunner(made, constants(lowered, CONTEXT))
    token, found = runner.prefill([1, 5, 2, 9, 7, 3]), []
    for _ in range(4):
        found.append(runner.logits.tobytes())
        token = runner.decode(token)
    return found


@pytest.mark.parametrize(
    ("cores", "fusions"),
    [
        (8, ("norm_quantize",)),
        (1, ("silu_quantize",)),
        (8, ("residual",)),
        (8, ("rope_append",)),
        (1, FUSIONS),
        (8, FUSIONS),
    ],
)
def test_the_bits_stay(model: tiny_models.QuantizedModel, cores: int, fusions: tuple[str, ...]) -> None:
    plain, fused = graphs(model, chip(cores)), graphs(model, chip(cores), *fusions)
    assert len(fused["decode"].nodes) < len(plain["decode"].nodes)
    assert answers(model, fused) == answers(model, plain)


def test_joined_projections_have_the_bits_of_single_ones(model: tiny_models.QuantizedModel, target: Target) -> None:
    single, joint = graphs(model, target, join=False), graphs(model, target)
    assert len(joint["decode"].nodes) == len(single["decode"].nodes) - 3 * model.config.n_layers
    assert answers(model, joint) == answers(model, single, join=False)


def test_what_two_read_stays(model: tiny_models.QuantizedModel, target: Target) -> None:
    """The residual stream is read by the next norm and the next addition: its writers are never swallowed."""
    made = graphs(model, target, *FUSIONS)["decode"]
    written = {v for n in made.nodes for v in n.outputs.values()}
    assert all(v in written or made.values[v].kind != "activation" for n in made.nodes for v in n.inputs.values())
    readers: dict[str, int] = {}
    for node in graphs(model, target)["decode"].nodes:
        for value in set(node.inputs.values()):
            readers[value] = readers.get(value, 0) + 1
    gone = {v for n in graphs(model, target)["decode"].nodes for v in n.outputs.values()} - written
    assert gone and all(readers[v] == 1 for v in gone)


@pytest.mark.parametrize(("ffn_dim", "cores", "fused"), [(52, 8, True), (160, 8, False), (160, 1, True)])
def test_a_slower_call_is_not_made(ffn_dim: int, cores: int, fused: bool) -> None:
    """On eight cores a call that quantises a row of five groups leaves three of them idle; of two, all have parts."""
    model = tiny_models.planned(tiny_models.checkpoint(tiny_models.config(ffn_dim=ffn_dim))).model
    made = graphs(model, chip(cores), "silu_quantize")["decode"]
    assert any(n.op == "silu_mul_quantize" for n in made.nodes) == fused


def rotated(made: Graph) -> list[Node]:
    return [n for n in made.nodes if n.op == "rope_append"]


def test_queries_are_quantised_where_they_are_rotated(model: tiny_models.QuantizedModel, target: Target) -> None:
    """And attention reads nothing else of them."""
    made = graphs(model, target, "rope_append")["prefill"]
    attends = [n for n in made.nodes if n.op == "attention"]
    assert len(attends) == len(rotated(made)) == model.config.n_layers
    for node, attend in zip(rotated(made), attends, strict=True):
        assert {role: node.outputs[role] for role in ("q", "q_scale")} == {
            role: attend.inputs[role] for role in ("q", "q_scale")
        }
        assert made.type_of(node.outputs["q"]).dtype == "i8"


@pytest.mark.parametrize("who", ["another", "an output"])
def test_float_queries_that_others_read_stay(model: tiny_models.QuantizedModel, target: Target, who: str) -> None:
    """RoPE and the cache are one call only for queries that one attention, and nothing else, reads."""
    plain = graphs(model, target)["decode"]
    attend = next(n for n in plain.nodes if n.op == "attention")
    q, at = attend.inputs["q"], plain.nodes.index(attend)
    if who == "another":
        value = replace(plain.values[attend.outputs["y"]], name="twice")
        nodes = [*plain.nodes[:at], replace(attend, name="more", outputs={"y": "twice"}), *plain.nodes[at:]]
        changed = replace(plain, nodes=nodes, values={**plain.values, "twice": value})
    else:
        changed = replace(plain, outputs=[*plain.outputs, q])
    made = fuse(changed, target, lambda name: name == "rope_append")
    assert len(rotated(made)) == model.config.n_layers - 1
    assert q in made.values and any(q in n.outputs.values() for n in made.nodes)
