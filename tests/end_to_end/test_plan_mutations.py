"""check() against hundreds of single mutations of sound plans: none that changes a bit survives unnoticed.

A mutant is caught by check(), or its simulation (early and late transfers) differs from the reference, or it is
harmless by its kind: a lifetime made shorter or longer where nobody else wants the bytes, equal transfers reordered.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tiny_models
from plan_mutator import Mutator

from edgec.compress.rtn import quantize_model
from edgec.errors import VerifyError
from edgec.ir.graph import Graph
from edgec.lower.llama import constants
from edgec.lower.programs import ready
from edgec.memory.check import PlanError, check
from edgec.memory.images import images
from edgec.memory.plan import Plan
from edgec.ops.sample import Sampling
from edgec.planning import plan_model
from edgec.recipe import Recipe
from edgec.simulate.reference import ReferenceRunner
from edgec.simulate.simulator import Simulator
from edgec.target import load_target

QUICK = {"streamed": 300, "near": 500, "grouped": 60}  # mutants of each plan; slow tests try more
Images = dict[str, np.ndarray[Any, Any]]
Outputs = list[tuple[str, bytes]]


@dataclass
class Case:
    """A sound plan, the memories' first bytes, and what every step writes."""

    plan: Plan
    data: Images
    expected: Outputs


def case(graphs: dict[str, Graph], consts: dict[str, Any], plan: Plan) -> Case:
    """What every step of a prefill that is cut short and of some decodes writes, by the reference and the plan."""
    reference = ReferenceRunner(graphs, consts)
    reference.sampling(Sampling())
    seen: Outputs = []
    reference.trace = lambda node, value, array: seen.append((value, array.tobytes()))
    drive(reference)
    made = Case(plan, images(plan, consts), seen)
    check(plan)
    assert all(simulated(plan, made.data, late) == seen for late in (False, True))
    return made


@pytest.fixture(scope="module")
def streamed(tiny: tiny_models.Planned) -> Case:
    """Weights and cache stream through a small L1, to the cores."""
    return case(tiny.graphs, tiny.consts, tiny.plan)


def as_built(recipe: Recipe, **sizes: int) -> Case:
    """Planned as `edgec build` does for Siracusa: with its accelerator, constants and cache in L1."""
    target, context = load_target("siracusa"), recipe.build.context or 0
    model = quantize_model(tiny_models.checkpoint(tiny_models.config(**sizes)), recipe.quantize)
    model = ready(model, target, context)
    graphs, plan = plan_model(model, target, context, recipe)
    return case(graphs, constants(model, context), plan)


@pytest.fixture(scope="module")
def near() -> Case:
    """Every matrix on N-EUREKA in 1x1 form; caches, scales and small weights stay in L1."""
    made = as_built(tiny_models.recipe(bits=8), hidden_dim=32, ffn_dim=64, head_dim=16)
    assert sum(count for name, count in calls(made.plan).items() if name.endswith("_neureka_1x1")) == 18
    assert {b.kind for b in made.plan.buffers if b.level == "L1"} >= {"kv", "scale", "weight"}
    return made


@pytest.fixture(scope="module")
def grouped() -> Case:
    """Matrices on N-EUREKA in 3x3 form, one of them in two groups."""
    sizes = {"hidden_dim": 252, "ffn_dim": 504, "head_dim": 18, "n_heads": 14, "n_layers": 1}
    made = as_built(tiny_models.recipe(bits=2, group_size=252), **sizes)
    assert sum(n for name, n in calls(made.plan).items() if name.startswith("matmul_w2a8") and "neureka" in name) == 9
    assert calls(made.plan)["matmul_w2a8_mlp_neureka"] == 1
    return made


def calls(plan: Plan) -> Counter[str]:
    """How often each kernel is called."""
    phases = [phase for p in plan.programs.values() for step in p.steps for phase in step.phases]
    return Counter(phase.call.kernel for phase in phases if phase.call is not None)


def drive(runner: Any) -> None:
    """A prefill whose last chunk is cut short, and decodes until the context is full."""
    token = runner.prefill([(37 * i + 11) % 97 for i in range(19)])
    for _ in range(5):
        token = runner.decode(token)


def simulated(plan: Plan, bytes_of: Images, late: bool) -> Outputs:
    simulator = Simulator(plan, bytes_of, late=late)
    simulator.sampling(Sampling())
    seen: Outputs = []
    simulator.trace = lambda step, value, data: seen.append((value, data))
    drive(simulator)
    return seen


def verdict(plan: Plan, data: Images, expected: Outputs) -> str:
    try:
        check(plan)
    except PlanError:
        return "checked"
    try:
        same = all(simulated(plan, data, late) == expected for late in (False, True))
    except (VerifyError, ValueError):  # ValueError: the state of the sampler has another size
        return "stopped"
    return "survived" if same else "differs"


def harmless(kind: str) -> bool:
    """Whether a change of this kind that check() accepts cannot change a bit.

    A buffer only says what is reserved: check() has shown that its users are inside and that it overlaps with nobody.
    Transfers of one phase have no order. A load moved behind the call beside it still precedes its use (check: who
    reads what). In a call on one row the distance between rows means nothing. The heads of kv_quantize find a head's
    centre, and there is none here. What a call only works in has a name that nobody else asks for. A region wider
    than what its kernel touches, over bytes that check() has found to be the same value's, changes no byte: kernels
    get addresses and counts, never the size of a region.
    """
    alike = ("buffer size", "buffer start", "buffer end", "transfer reorder", "later of")
    one_row = (
        kind.startswith(("number ldy of decode", "number ldx of decode")) or kind == "number ldy of prefill logits"
    )
    heads = kind.startswith("number heads of") and kind.endswith(".kv")
    rooms = r"(s|p|p_scale|r|found) (value|at) of .*\.attn|acc (value|at) of .*|y (value|at) of .*\.silu\..*"
    work = re.fullmatch(f"operand ({rooms})", kind)
    wider = re.fullmatch(r"operand \w+ wider of .*", kind)
    return kind.startswith(alike) or one_row or heads or bool(work or wider)


def assert_none_passes(made: Case, seeds: range) -> None:
    verdicts: Counter[str] = Counter()
    survivors = []
    for seed in seeds:
        kind, mutant = Mutator(made.plan, seed).mutant()
        with np.errstate(all="ignore"):
            found = verdict(mutant, made.data, made.expected)
        if found == "survived":
            found = "harmless" if harmless(kind) else found
            survivors += [f"{seed}: {kind}"] * (found == "survived")
        verdicts[found] += 1
    assert not survivors
    assert verdicts["checked"] > len(seeds) * 0.6, verdicts
    assert verdicts["harmless"] < len(seeds) * 0.15, verdicts


@pytest.mark.parametrize("name", ["streamed", "near", "grouped"])
def test_no_mutant_passes(name: str, request: pytest.FixtureRequest) -> None:
    assert_none_passes(request.getfixturevalue(name), range(QUICK[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["streamed", "near", "grouped"])
def test_none_of_many_passes(name: str, request: pytest.FixtureRequest) -> None:
    assert_none_passes(request.getfixturevalue(name), range(QUICK[name], QUICK[name] + 2000))
