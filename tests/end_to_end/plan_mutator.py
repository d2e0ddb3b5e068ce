"""Random single changes of a plan, each with the name of its kind."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import fields, replace

from edgec.memory.plan import Buffer, Call, Extent, Phase, Plan, Program, Region, Step, Transfer


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
        others = [s for s in ("", "source_pos", "target_pos", "both_pos", "token") if s != t.start]
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
            (part,) = (f.name for f in fields(was) if getattr(was, f.name) != getattr(now, f.name))  # type: ignore[arg-type]
            wider = part == "size" and now.size > was.size  # type: ignore[union-attr]
            regions = {**call.regions, name: now}
            return f"operand {name} {'wider' if wider else part}", (
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
