"""check(): the rules about buffers, each broken by one buffer that nobody uses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny_models

from edgec.memory.check import PlanError, check
from edgec.memory.plan import Buffer, Plan, Program


def with_buffer(plan: Plan, buffer: Buffer) -> Plan:
    """The plan and one buffer more, permanent or of a program."""
    if not buffer.program:
        return replace(plan, buffers=[*plan.buffers, buffer])
    p = plan.programs[buffer.program]
    programs = {**plan.programs, p.name: Program(p.name, p.rows, p.steps, [*p.buffers, buffer])}
    return replace(plan, programs=programs)


def refused(plan: Plan, words: str) -> None:
    check(plan)
    with pytest.raises(PlanError, match=words):
        check(with_buffer(plan, BUFFER[words](plan)))


def of_kind(plan: Plan, kind: str) -> Buffer:
    return next(b for b in plan.all_buffers() if b.kind == kind and b.size >= 32)


def capacity(plan: Plan) -> int:
    return plan.target.memory_by_name["L1"].capacity_bytes


BUFFER = {
    "share bytes of MRAM": lambda plan: replace(of_kind(plan, "weight"), name="other", size=16),
    "share bytes of TILE": lambda plan: replace(of_kind(plan, "kv"), name="other", size=16, kind="scratch"),
    "share bytes of L1": lambda plan: replace(of_kind(plan, "activation"), name="other", size=16),
    "leaves L1": lambda plan: Buffer("other", "L1", capacity(plan) - 16, 17, "scratch"),
    "leaves L2": lambda plan: Buffer("other", "L2", -16, 16, "scratch"),
    "is not aligned": lambda plan: Buffer("other", "L3", 8, 8, "scratch"),
    "lives for steps": lambda plan: Buffer("other", "L3", 0, 16, "scratch", "decode", 3, 3),
}


@pytest.mark.parametrize("words", BUFFER)
def test_a_buffer_that_breaks_a_rule(tiny: tiny_models.Planned, words: str) -> None:
    refused(tiny.plan, words)


def test_a_last_byte_is_enough(tiny: tiny_models.Planned) -> None:
    weight = of_kind(tiny.plan, "weight")
    last = (weight.size - 1) // 16 * 16
    inside = replace(weight, name="other", offset=weight.offset + last, size=1)
    with pytest.raises(PlanError, match="share bytes"):
        check(with_buffer(tiny.plan, inside))


def test_steps_that_meet_not_may_share(tiny: tiny_models.Planned) -> None:
    """Half-open: what ends at a step shares with what begins there."""
    free = tiny.plan.used_bytes("L1") // 16 * 16 + 16
    first = with_buffer(tiny.plan, Buffer("a", "L1", free, 64, "scratch", "decode", 2, 5))
    check(with_buffer(first, Buffer("b", "L1", free, 64, "scratch", "decode", 5, 6)))
    with pytest.raises(PlanError, match=r"buffers (a and b|b and a)"):
        check(with_buffer(first, Buffer("b", "L1", free, 64, "scratch", "decode", 4, 6)))


def test_stacks_keep_their_bytes(tiny: tiny_models.Planned) -> None:
    plan = tiny.plan
    stacks = next(b for b in plan.buffers if b.kind == "stack")
    others = [b for b in plan.buffers if b is not stacks]
    for changed in ([], [replace(stacks, size=stacks.size - 16)]):
        with pytest.raises(PlanError, match="in which the stacks lie"):
            check(replace(plan, buffers=[*others, *changed]))
