"""Queries come as int8 where they are rotated beside the cache's new rows; else attention's step quantises them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import tiny_models

from edgec.lower.llama import constants
from edgec.lower.programs import programs, ready
from edgec.memory.check import check
from edgec.memory.choices import ALL
from edgec.memory.images import images
from edgec.memory.plan import Program
from edgec.memory.planner import plan
from edgec.simulate.reference import ReferenceRunner
from edgec.simulate.simulator import Simulator
from edgec.target import load_target

CONTEXT, ROWS = 24, {"prefill": 4, "decode": 1}


@pytest.fixture(scope="module")
def model() -> tiny_models.QuantizedModel:
    return tiny_models.planned(tiny_models.checkpoint(tiny_models.config())).model


def kernels(program: Program) -> list[list[str]]:
    """Of each attention step, in the order of its calls."""
    steps = [step for step in program.steps if step.op == "attention"]
    return [[phase.call.kernel for phase in step.phases if phase.call] for step in steps]


def written(runner: Any) -> list[tuple[str, bytes]]:
    """Everything that steps write in a prompt of two chunks and some tokens."""
    seen: list[tuple[str, bytes]] = []
    if isinstance(runner, Simulator):
        runner.trace = lambda step, value, data: seen.append((value, data))
    else:
        runner.trace = lambda node, value, array: seen.append((value, array.tobytes()))
    token = runner.prefill([1, 5, 2, 9, 7, 3])
    for _ in range(3):
        token = runner.decode(token)
    return seen


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("rotated", [True, False])
def test_queries_are_quantised_once(model: tiny_models.QuantizedModel, rotated: bool, whole: bool) -> None:
    target = load_target("siracusa")
    choices = replace(ALL, rope_append=rotated, attention=whole)
    lowered = ready(model, target, CONTEXT, choices)
    consts = constants(lowered, CONTEXT)
    graphs = programs(lowered, consts, ROWS, CONTEXT, target, choices)
    made = plan(graphs, target, CONTEXT, choices)
    check(made)
    for program in made.programs.values():
        for calls in kernels(program):
            assert ("attention" in calls) == whole
            assert calls.count("quantize_dynamic") == (not rotated)
            assert rotated or calls[0] == "quantize_dynamic"
    assert written(Simulator(made, images(made, consts))) == written(ReferenceRunner(graphs, consts))
