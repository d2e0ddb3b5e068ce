"""Cores share the heads of a row that do not fill them: the plan has the rooms, and check() wants them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import tiny_models

from edgec.compress.rtn import quantize_model
from edgec.lower.programs import ready
from edgec.memory.check import PlanError, check
from edgec.memory.plan import Call, Phase, Plan
from edgec.planning import plan_model
from edgec.recipe import Quantize
from edgec.target import load_target


def attentions(plan: Plan) -> Iterator[Call]:
    phases = [phase for step in plan.programs["decode"].steps for phase in step.phases]
    return (phase.call for phase in phases if phase.call and phase.call.kernel == "attention")


def with_rooms(plan: Plan, rooms: int) -> Plan:
    """The plan with another number in each of these calls."""
    decode = plan.programs["decode"]

    def changed(phase: Phase) -> Phase:
        if not phase.call or phase.call.kernel != "attention":
            return phase
        return replace(phase, call=replace(phase.call, numbers={**phase.call.numbers, "rooms": rooms}))

    steps = [replace(step, phases=[changed(phase) for phase in step.phases]) for step in decode.steps]
    return replace(plan, programs={**plan.programs, "decode": replace(decode, steps=steps)})


@pytest.mark.parametrize(
    ("heads", "head_dim", "rooms", "shared"),
    [(9, 4, 9, True), (9, 6, 8, False), (8, 4, 8, False), (4, 4, 8, True), (16, 4, 8, False), (36, 4, 8, False)],
)
def test_rooms(heads: int, head_dim: int, rooms: int, shared: bool) -> None:
    # Of nine heads of 6, tiles of K and V would be faster at later positions: scores are shared by position there.
    config, context = tiny_models.config(n_heads=heads, n_kv_heads=heads, head_dim=head_dim, n_layers=1), 32
    model = quantize_model(tiny_models.checkpoint(config), Quantize("rtn", 4, 32, {}), None, 8, "auto")
    target = load_target("siracusa")  # with its measured costs: without, tiles of K and V are as good
    _, plan = plan_model(ready(model, target, context), target, context, tiny_models.recipe(context=context))
    calls = list(attentions(plan))
    assert calls
    for call in calls:
        assert call.numbers["rooms"] == rooms
        assert (call.regions["found"] is not None) == shared
    check(plan)
    with pytest.raises(PlanError, match="rooms"):
        check(with_rooms(plan, rooms - 1))
