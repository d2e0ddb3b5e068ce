"""generate(): stops where it must, streams whole characters, predicts by the plan."""

from __future__ import annotations

import pytest

from edgec.cost.estimate import program_usage
from edgec.errors import EdgecError
from edgec.ops.sample import Sampling
from edgec.simulate.generate import generate


class Letters:
    """Token ids are code points; two halves of an e acute are 1 and 2."""

    eos_ids = (0,)

    def encode(self, text):
        return [ord(c) for c in text]

    def decode(self, ids):
        return "".join(map(chr, ids)).replace("\x01\x02", "é").replace("\x01", "�")


class Scripted:
    def __init__(self, tokens):
        self.tokens, self.pos, self.runs = list(tokens), 0, []

    def reset(self):
        self.pos = 0

    def sampling(self, settings):
        self.settings = settings

    def run(self, program, tokens):
        self.pos += len(tokens)
        self.runs.append((program, len(tokens)))
        return self.tokens.pop(0) if program == "decode" or not self.runs[:-1] else self.tokens[0]


def test_streams_and_predicts(planned):
    plan = planned["siracusa"].plan
    pieces, runner = [], Scripted([97, 1, 2, 98, 99])
    made = generate(runner, plan, Letters(), "hey", 5, Sampling(seed=3), pieces.append)
    assert runner.settings.seed == 3
    assert made.text == "aébc" and pieces == ["a", "é", "b", "c"]
    assert (made.stop, made.prompt_tokens, len(made.tokens)) == ("tokens", 3, 5)
    cycles = program_usage(plan, plan.programs["prefill"], 3, 0).cycles
    cycles += sum(program_usage(plan, plan.programs["decode"], 1, 3 + i).cycles for i in range(4))
    assert made.chip_seconds == pytest.approx(cycles / plan.target.clock_hz)
    assert "3 + 5 tokens, as asked; predicted on siracusa" in made.summary("siracusa")


def test_prompts_go_in_chunks(planned):
    runner = Scripted([97] * 9)
    generate(runner, planned["host"].plan, Letters(), "a" * 10, 1, Sampling())
    assert runner.runs == [("prefill", 4), ("prefill", 4), ("prefill", 2)]


def test_stops_at_the_end_and_at_the_context(planned):
    plan = planned["host"].plan
    ended = generate(Scripted([97, 0]), plan, Letters(), "hey", 9, Sampling())
    assert (ended.stop, ended.tokens) == ("end", [97])
    full = generate(Scripted([97] * 50), plan, Letters(), "hey", 50, Sampling())
    assert (full.stop, len(full.tokens)) == ("context", plan.context - 3 + 1)
    only = generate(Scripted([97]), plan, Letters(), "hey", 1, Sampling())
    assert only.chip_tokens_per_second is None and "simulated here in" in only.summary("host")


@pytest.mark.parametrize(("prompt", "word"), [("", "empty"), ("x" * 25, "25 tokens")])
def test_prompts_that_cannot_be(planned, prompt, word):
    with pytest.raises(EdgecError, match=word):
        generate(Scripted([]), planned["host"].plan, Letters(), prompt, 1, Sampling())
