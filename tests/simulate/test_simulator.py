"""The simulator: early and late transfers, chunks of any size, time as estimated, nothing read that was not written."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import tiny_models

from edgec.cost.estimate import program_usage
from edgec.errors import EdgecError
from edgec.memory.check import PlanError, check
from edgec.memory.images import images
from edgec.memory.plan import Phase, Plan, Program
from edgec.ops.sample import Sampling
from edgec.simulate.reference import ReferenceRunner
from edgec.simulate.simulator import PATTERN, Simulator

PROMPT = [(31 * i + 5) % 97 for i in range(11)]
WARM = Sampling(temperature=0.9, top_k=20, top_p=0.95, seed=11)


def simulator(tiny: tiny_models.Planned, plan: Plan | None = None, late: bool = False) -> Simulator:
    made = Simulator(plan or tiny.plan, images(tiny.plan, tiny.consts), late=late)
    made.sampling(WARM)
    return made


def reference(tiny: tiny_models.Planned) -> ReferenceRunner:
    made = ReferenceRunner(tiny.graphs, tiny.consts)
    made.sampling(WARM)
    return made


def story(runner: Any, count: int = 8) -> list[int]:
    tokens = [runner.prefill(PROMPT)]
    while len(tokens) < count:
        tokens.append(runner.decode(tokens[-1]))
    return tokens


def test_early_late_and_reference_agree(tiny: tiny_models.Planned) -> None:
    early, late, exact = simulator(tiny), simulator(tiny, late=True), reference(tiny)
    assert story(early) == story(late) == story(exact)
    for level in early.memory:
        assert early.memory[level].tobytes() == late.memory[level].tobytes()
    early.reset()
    exact.reset()
    assert story(early) == story(exact)  # the generator goes on


@pytest.mark.parametrize("seed", range(6))
def test_a_prompt_in_any_pieces_leaves_the_same_cache_and_logits(tiny: tiny_models.Planned, seed: int) -> None:
    rng = random.Random(seed)
    whole, pieces = reference(tiny), reference(tiny)
    whole.prefill(PROMPT)
    at = 0
    while at < len(PROMPT):
        size = rng.randrange(1, 5)
        part = PROMPT[at : at + size]
        pieces.run("decode" if len(part) == 1 and rng.random() < 0.5 else "prefill", part)
        at += size
    assert whole.pos == pieces.pos == len(PROMPT)
    assert whole.logits.tobytes() == pieces.logits.tobytes()
    for name, state in whole._states.items():
        if name != "sampling":
            assert state[: whole.pos].tobytes() == pieces._states[name][: whole.pos].tobytes()


def test_the_context_ends(tiny: tiny_models.Planned) -> None:
    for runner in (simulator(tiny), reference(tiny)):
        with pytest.raises(EdgecError, match="do not fit a context of 24"):
            runner.prefill([1] * 25)


def test_longer_histories_cost_more(tiny: tiny_models.Planned) -> None:
    decode = tiny.plan.programs["decode"]
    costs = [program_usage(tiny.plan, decode, 1, pos).cycles for pos in (0, 5, 23)]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]


def without_transfer(plan: Plan, node: str) -> Plan:
    """The plan without the first transfer from a decode step on: the step's own, or one for the step after."""
    program = plan.programs["decode"]
    first = next(i for i, s in enumerate(program.steps) if s.node == node)
    number = next(i for i in range(first, len(program.steps)) if any(p.transfers for p in program.steps[i].phases))
    step = program.steps[number]
    at = next(i for i, p in enumerate(step.phases) if p.transfers)
    phases = list(step.phases)
    phases[at] = Phase(phases[at].transfers[1:], phases[at].call, phases[at].when)
    steps = list(program.steps)
    steps[number] = replace(step, phases=tuple(phases))
    programs = {**plan.programs, "decode": Program("decode", 1, steps, program.buffers)}
    return Plan(plan.target, plan.context, plan.buffers, programs)


@pytest.mark.parametrize("node", ["embed", "l0.qkv", "l0.attn", "l1.down", "norm.q8g32"])
def test_what_was_never_written_is_noticed(tiny: tiny_models.Planned, node: str) -> None:
    broken = without_transfer(tiny.plan, node)
    wrong = r"decode step \d+ \(\w+ [\w.]+\): .*(was never written|holds byte|never reach)"
    with pytest.raises(PlanError, match=wrong):
        check(broken)


def test_memory_without_an_image_starts_as_a_pattern(tiny: tiny_models.Planned) -> None:
    fresh = Simulator(tiny.plan, images(tiny.plan, tiny.consts))
    assert (fresh.memory["L1"] == PATTERN).all()
    assert (fresh.memory["TILE"] == PATTERN).all()
    exact = ReferenceRunner(tiny.graphs, tiny.consts)
    for name, value in tiny.consts.items():
        home = next(b for b in tiny.plan.buffers if b.name == name)
        assert fresh.memory[home.level][home.offset : home.offset + home.size].tobytes() == value.tobytes()
    exact.sampling(Sampling())
    fresh.sampling(Sampling())
    assert fresh.prefill(PROMPT) == exact.prefill(PROMPT)
