"""Rolled loops compute exactly the integers of the phases: the C is expanded again and compared."""

from __future__ import annotations

import random
import re

import pytest
import tiny_models

from edgec.emit.code_text import HOLE, CodeText
from edgec.emit.functions import share
from edgec.emit.loops import roll

LOOP = re.compile(r"for \(uint32_t i = 0; i < (\d+)u; i\+\+\) \{\n(.*?)^\}\n", re.S | re.M)


def value(text: str, i: int = 0, p: list[int] | None = None) -> str:
    """Every sum and product of literals, `i` and `p[j]` replaced by its value, as a literal."""
    text = re.sub(r"p\[(\d+)\]", lambda m: f"{(p or [])[int(m[1])]}u", text)
    text = re.sub(r"\bi \* (\d+)u", lambda m: f"{i * int(m[1])}u", text)

    def folded(m: re.Match[str]) -> str:
        return f"{int(m[1]) + int(m[3]) if m[2] == '+' else int(m[1]) - int(m[3])}u"

    while (shorter := re.sub(r"\((\d+)u ([+-]) (\d+)u\)", folded, text)) != text:
        text = shorter
    return text


def expanded(text: str, p: list[int] | None = None) -> str:
    """The text with every loop written out."""

    def unrolled(m: re.Match[str]) -> str:
        return "".join(value(m[2], i, p) for i in range(int(value(m[1] + "u", 0, p)[:-1])))

    text = re.sub(r"i < p\[(\d+)\];", lambda m: f"i < {(p or [])[int(m[1])]}u;", text)
    return value(LOOP.sub(unrolled, text), 0, p)


def phases_of(rng: random.Random) -> list[CodeText]:
    """Stretches of phases that repeat with period 1 or 2, ascending and descending, with irregular ones between."""
    shapes = [f"load({HOLE}, {HOLE});\n", f"run({HOLE});\n", "wait();\n", f"store({HOLE}, {HOLE}, {HOLE});\n"]
    phases: list[CodeText] = []
    for _ in range(rng.randrange(1, 6)):
        period, count = rng.choice([1, 2, 2, 3]), rng.randrange(1, 9)
        kinds = [rng.choice(shapes) for _ in range(period)]
        starts = [[rng.randrange(1000, 2000) for _ in range(kind.count(HOLE))] for kind in kinds]
        steps = [[rng.choice([0, 0, 16, -16, 100, 7]) for _ in start] for start in starts]
        for number in range(count):
            for kind, start, step in zip(kinds, starts, steps, strict=True):
                integers = [a + number * b for a, b in zip(start, step, strict=True)]
                if rng.random() < 0.05 and integers:
                    integers[0] += 1  # breaks the progression
                phases.append(CodeText(kind, tuple(integers)))
    return phases


@pytest.mark.parametrize("seed", range(150))
def test_rolled_is_unrolled(seed: int) -> None:
    phases = phases_of(random.Random(seed))
    plain = "".join(p.render() for p in phases)
    rolled = roll(phases)
    assert rolled.shape.count(HOLE) == len(rolled.integers)
    assert expanded(rolled.render()) == plain


def test_repetition_becomes_a_loop() -> None:
    phases = [CodeText(f"f({HOLE}, {HOLE});\n", (n % 2 * 64, 100 * n)) for n in range(10)]
    assert roll(phases).render().count("for (") == 1
    assert len(roll(phases).render().splitlines()) == 4
    same = [CodeText(f"f({HOLE});\n", (5,))] * 4
    assert roll(same).render() == "for (uint32_t i = 0; i < 4u; i++) {\nf(5u);\n}\n"
    assert "for (" not in roll(same[:2]).render()
    assert roll([]).render() == ""


@pytest.mark.parametrize("seed", range(40))
def test_shared_functions_compute_each_steps_integers(seed: int) -> None:
    """Steps of a few shapes with their own integers: function and table row give the step's own text back."""
    rng = random.Random(seed)
    shapes = [f"a({HOLE}, {HOLE});\nb({HOLE});\n", f"c({HOLE});\n", "d();\n"]
    steps = []
    for _ in range(rng.randrange(1, 12)):
        shape = rng.choice(shapes)
        base = rng.randrange(100, 200)
        integers = [rng.choice([base, base + 16, 7, rng.randrange(500)]) for _ in range(shape.count(HOLE))]
        steps.append((rng.choice(["x", "y"]), CodeText(shape, tuple(integers))))
    shared = share(steps)
    bodies = {f.name: f for f in shared.functions}
    assert len(bodies) == len({(op, code.shape) for op, code in steps})
    for (op, code), (name, row) in zip(steps, shared.calls, strict=True):
        assert name.startswith(f"step_{op}_")
        assert bodies[name].parameters == len(row)
        assert value(bodies[name].body, 0, row) == code.render()


def test_real_steps_survive_rolling_and_sharing(tiny: tiny_models.Planned) -> None:
    from edgec.emit.model_c import value_ids
    from edgec.emit.phase_text import phase_text, trace_text

    ids = value_ids(tiny.plan)
    plain, codes = [], []
    for program in tiny.plan.programs.values():
        for step in program.steps:
            traces = [trace_text(ids[v], r, n, b) for v, r, n, b in step.writes]
            texts = [phase_text(phase) for phase in step.phases]
            plain.append("".join(t.render() for t in [*texts, *traces]))
            code = roll(texts)
            for trace in traces:
                code += trace
            codes.append((step.op, code))
    shared = share(codes)
    bodies = {f.name: f.body for f in shared.functions}
    for text, (name, row) in zip(plain, shared.calls, strict=True):
        assert expanded(bodies[name], row) == text
    assert len(bodies) < len(plain) / 2
