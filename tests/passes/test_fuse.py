"""fuse leaves the bits alone, whatever it joins, and joins only what one call does no slower."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny_models

from edgec.ir.graph import Graph
from edgec.lower.llama import constants
from edgec.lower.programs import programs, ready
from edgec.memory.choices import ALL
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
