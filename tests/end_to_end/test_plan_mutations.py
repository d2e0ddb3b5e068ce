"""check() against a thousand single mutations of a sound plan: none that changes a bit survives unnoticed.

A mutant is caught by check(), or its simulation (early and late transfers) differs from the reference, or it is
harmless by its kind: a lifetime made shorter or longer where nobody else wants the bytes, equal transfers reordered.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny_models

from edgec.errors import VerifyError
from edgec.memory.check import PlanError, check
from edgec.memory.images import images
from edgec.memory.plan import Buffer, Call, Extent, Phase, Plan, Program, Region, Step, Transfer
from edgec.ops.sample import Sampling
from edgec.simulate.reference import ReferenceRunner
from edgec.simulate.simulator import Simulator

MUTANTS = 1000
Images = dict[str, np.ndarray[Any, Any]]
Outputs = list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def expected(tiny: tiny_models.Planned) -> Outputs:
    """What every step of a prefill that is cut short and of some decodes writes."""
    reference = ReferenceRunner(tiny.graphs, tiny.consts)
    reference.sampling(Sampling())
    seen: Outputs = []
    reference.trace = lambda node, value, array: seen.append((value, array.tobytes()))
    drive(reference)
    return seen


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


class Mutator:
    """One random single change of a plan, and what kind it was."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self.random = random.Random(seed)
        self.plan = plan

    def mutant(self) -> tuple[str, Plan]:
        program = self.random.choice(list(self.plan.programs.values()))
        if self.random.random() < 0.2:
            return self.of_buffer(program)
        while True:
            number = self.random.randrange(len(program.steps))
            step = program.steps[number]
            where = self.random.randrange(len(step.phases))
            made = self.of_phase(step.phases[where])
            if made is not None:
                kind, phase = made
                phases = (*step.phases[:where], *phase, *step.phases[where + 1 :])
                return f"{kind} of {program.name} {step.node}", self.with_step(
                    program, number, replace(step, phases=phases)
                )

    def with_step(self, program: Program, number: int, step: Step) -> Plan:
        steps = [*program.steps[:number], step, *program.steps[number + 1 :]]
        changed = Program(program.name, program.rows, steps, program.buffers)
        return Plan(
            self.plan.target, self.plan.context, self.plan.buffers, {**self.plan.programs, program.name: changed}
        )

    def of_buffer(self, program: Program) -> tuple[str, Plan]:
        own = self.random.random() < 0.7
        buffers = list(program.buffers if own else self.plan.buffers)
        at = self.random.randrange(len(buffers))
        kinds = ["offset", "size", "drop", *(["start", "end"] if own else [])]
        kind = self.random.choice(kinds)
        if kind == "drop":
            del buffers[at]
        else:
            buffers[at] = self.changed_buffer(buffers[at], kind)
        if own:
            programs = {**self.plan.programs, program.name: Program(program.name, program.rows, program.steps, buffers)}
            return f"buffer {kind}", Plan(self.plan.target, self.plan.context, self.plan.buffers, programs)
        return f"buffer {kind}", Plan(self.plan.target, self.plan.context, buffers, self.plan.programs)

    def changed_buffer(self, b: Buffer, kind: str) -> Buffer:
        if kind == "offset":
            return replace(b, offset=b.offset + self.random.choice([-16, 16, 64, 4]))
        if kind == "size":
            return replace(b, size=b.size + self.random.choice([-16, -1, 1, 16, 4096]))
        return replace(b, **{kind: getattr(b, kind) + self.random.choice([-1, 1])})

    def of_phase(self, phase: Phase) -> tuple[str, tuple[Phase, ...]] | None:
        choices: list[Callable[[Phase], tuple[str, tuple[Phase, ...]] | None]] = [self.of_call, self.of_when]
        if phase.transfers:
            choices = [self.of_transfer] * 3 + choices
        return self.random.choice(choices)(phase)

    def of_transfer(self, phase: Phase) -> tuple[str, tuple[Phase, ...]]:
        moves = list(phase.transfers)
        at = self.random.randrange(len(moves))
        kind = self.random.choice(
            ["drop", "duplicate", "reorder", "later", "source", "target", "rows", "row_bytes", "link", "start"]
        )
        if kind == "drop":
            del moves[at]
        elif kind == "duplicate":
            moves.append(moves[at])
        elif kind == "reorder":
            moves.reverse()
        elif kind == "later":  # behind the call that runs beside it
            move = moves.pop(at)
            return kind, (replace(phase, transfers=tuple(moves)), Phase((move,)))
        else:
            moves[at] = self.changed_transfer(moves[at], kind)
        return f"transfer {kind}", (replace(phase, transfers=tuple(moves)),)

    def changed_transfer(self, t: Transfer, kind: str) -> Transfer:
        if kind in ("source", "target"):
            return replace(t, **{kind: self.changed_region(getattr(t, kind))})
        if kind == "rows":
            if isinstance(t.rows, Extent):
                part = self.random.choice(["first", "limit", "times", "bound", "from_start"])
                if part == "from_start":
                    return replace(t, rows=replace(t.rows, from_start=not t.rows.from_start))
                return replace(t, rows=replace(t.rows, **{part: getattr(t.rows, part) + self.random.choice([-1, 1])}))
            return replace(t, rows=t.rows + self.random.choice([-1, 1]))  # type: ignore[operator]
        if kind == "row_bytes":
            return replace(t, row_bytes=t.row_bytes + self.random.choice([-4, -1, 1, 4]))
        if kind == "link":
            return replace(t, link=self.random.choice([k.name for k in self.plan.target.links if k.name != t.link]))
        others = [s for s in ("", "source_pos", "target_pos", "token") if s != t.start]
        return replace(t, start=self.random.choice(others))

    def changed_region(self, r: Region) -> Region:
        kind = self.random.choice(["offset", "size", "value", "at", "level"])
        if kind == "value":
            return replace(r, value=self.random.choice([b.name for b in self.plan.all_buffers() if b.name != r.value]))
        if kind == "level":
            return replace(
                r, level=self.random.choice([m.name for m in self.plan.target.memories if m.name != r.level])
            )
        return replace(r, **{kind: getattr(r, kind) + self.random.choice([-16, -4, 4, 16])})

    def of_call(self, phase: Phase) -> tuple[str, tuple[Phase, ...]] | None:
        if phase.call is None:
            return None
        call = phase.call
        kind = self.random.choice(["operand", "drop", "number"])
        if kind == "drop":
            return "call drop", (replace(phase, call=None, when=None),)
        if kind == "operand":
            name = self.random.choice([n for n, r in call.regions.items() if r is not None])
            was = call.regions[name]
            now = self.changed_region(was)  # type: ignore[arg-type]
            wider = replace(now, size=was.size) == was and now.size > was.size  # type: ignore[union-attr]
            regions = {**call.regions, name: now}
            return f"operand {name}" + " wider" * wider, (
                replace(phase, call=Call(call.kernel, call.engine, regions, call.numbers)),
            )
        name = self.random.choice(list(call.numbers))
        value = call.numbers[name]
        if isinstance(value, float):
            value *= 1.5
        elif isinstance(value, Extent):
            part = self.random.choice(["bound", "limit"])
            value = replace(value, **{part: getattr(value, part) - 1})
        elif isinstance(value, int):
            value -= 1
        else:
            value = replace(value, add=value.add + 1)
        numbers = {**call.numbers, name: value}
        return f"number {name}", (replace(phase, call=Call(call.kernel, call.engine, call.regions, numbers)),)

    def of_when(self, phase: Phase) -> tuple[str, tuple[Phase, ...]] | None:
        if phase.when is None:
            return None
        return "when", (replace(phase, when=replace(phase.when, first=phase.when.first + 2)),)


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
    work = re.fullmatch(r"operand (q8|q_scale|s|p|p_scale|acc)( wider)? of .*\.attn", kind)
    wider = re.fullmatch(r"operand \w+ wider of .*", kind)
    return kind.startswith(alike) or one_row or heads or bool(work or wider)


def test_no_mutant_passes(tiny: tiny_models.Planned, expected: Outputs) -> None:
    check(tiny.plan)
    data = images(tiny.plan, tiny.consts)
    for late in (False, True):
        assert simulated(tiny.plan, data, late) == expected
    verdicts: Counter[str] = Counter()
    survivors = []
    for seed in range(MUTANTS):
        kind, mutant = Mutator(tiny.plan, seed).mutant()
        with np.errstate(all="ignore"):
            found = verdict(mutant, data, expected)
        if found == "survived":
            found = "harmless" if harmless(kind) else found
            survivors += [f"{seed}: {kind}"] * (found == "survived")
        verdicts[found] += 1
    assert not survivors
    assert verdicts["checked"] > MUTANTS * 0.6, verdicts
    assert verdicts["harmless"] < MUTANTS * 0.15, verdicts
