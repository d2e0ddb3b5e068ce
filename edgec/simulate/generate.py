"""generate(): text from a prompt, piece by piece, with the speed that the plan predicts and the one seen here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from edgec.cost.estimate import program_usage
from edgec.errors import EdgecError, OutputError
from edgec.frontend.checkpoint import TextTokenizer
from edgec.memory.plan import Plan
from edgec.ops.sample import Sampling
from edgec.report.speed import encoding_cycles

if TYPE_CHECKING:
    from edgec.artifact import Artifact

REASONS = {"tokens": "as asked", "end": "the text ended", "context": "the context is full"}
UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what a decoder gives for half a character


class Runner(Protocol):
    """The reference or the plan's simulator."""

    pos: int

    def reset(self) -> None:
        """Empty the cache."""

    def sampling(self, settings: Sampling) -> None:
        """Choose how tokens are sampled."""

    def run(self, program: str, tokens: list[int]) -> int:
        """One run of a program; the next token."""

    def encode(self, tokens: list[int]) -> object:
        """Read a text, as a model with an encoder does."""


@dataclass(frozen=True)
class Generation:
    """What was generated, why it stopped ("tokens", "end" or "context"), and how fast.

    chip_seconds is what the plan predicts for all runs, wall_seconds what they took here; the speeds are those of
    decoding, None if the prompt's last token was the only run.
    """

    prompt: str
    text: str
    prompt_tokens: int
    tokens: list[int]
    stop: str
    chip_seconds: float
    chip_tokens_per_second: float | None
    wall_seconds: float
    wall_tokens_per_second: float | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def summary(self, target: str) -> str:
        """One line for people."""
        line = f"{self.prompt_tokens} + {len(self.tokens)} tokens, {REASONS[self.stop]}; "
        line += f"predicted on {target}: {self.chip_seconds:,.3f} s"
        if self.chip_tokens_per_second and self.wall_tokens_per_second:
            line += f", {self.chip_tokens_per_second:,.1f} tokens/s; "
            return line + f"simulated here at {self.wall_tokens_per_second:,.1f} tokens/s"
        return line + f"; simulated here in {self.wall_seconds:,.3f} s"


@dataclass
class Clock:
    """A runner, and seconds per program: predicted for the chip, and passed here."""

    runner: Runner
    plan: Plan

    def __post_init__(self) -> None:
        self.chip = {"encode": 0.0, "prefill": 0.0, "decode": 0.0}
        self.wall = dict(self.chip)

    def encode(self, tokens: list[int]) -> None:
        """A source read, timed."""
        self.chip["encode"] += encoding_cycles(self.plan, len(tokens)) / self.plan.target.clock_hz
        start = time.perf_counter()
        self.runner.encode(tokens)
        self.wall["encode"] += time.perf_counter() - start

    def run(self, program: str, tokens: list[int]) -> int:
        """One timed run."""
        usage = program_usage(self.plan, self.plan.programs[program], len(tokens), self.runner.pos)
        self.chip[program] += usage.cycles / self.plan.target.clock_hz
        start = time.perf_counter()
        token = self.runner.run(program, tokens)
        self.wall[program] += time.perf_counter() - start
        return token


def runner_of(artifact: Artifact, by_plan: bool) -> Runner:
    """The plan's simulator or the reference of a built folder. Raises OutputError if it cannot generate text."""
    if artifact.meta.get("tokenizer", True) is None:
        raise OutputError(f"{artifact.path} has no tokenizer; build it again with --tokenizer.")
    if not by_plan:
        return artifact.reference()
    return artifact.simulator()


def generate(
    runner: Runner,
    plan: Plan,
    tokenizer: TextTokenizer,
    prompt: str,
    tokens: int,
    sampling: Sampling,
    emit: Callable[[str], None] = lambda piece: None,
) -> Generation:
    """At most `tokens` tokens after the prompt; `emit` gets the text as it grows.

    Raises EdgecError if the prompt is empty or longer than the context.
    """
    ids = tokenizer.encode(prompt)
    if not ids:
        raise EdgecError("the prompt is empty, and this model has no token that begins a text.")
    if len(ids) > plan.context:
        raise EdgecError(
            f"the prompt has {len(ids)} tokens, the context holds {plan.context}; "
            "shorten it or build with a larger --context."
        )
    clock = Clock(runner, plan)
    runner.reset()
    made, text, stop = continued(clock, tokenizer, ids, tokens, sampling, emit)
    decoded = runner.pos - len(ids)
    return Generation(
        prompt,
        text,
        len(ids),
        made,
        stop,
        sum(clock.chip.values()),
        decoded / clock.chip["decode"] if decoded else None,
        sum(clock.wall.values()),
        decoded / clock.wall["decode"] if decoded else None,
    )


def continued(
    clock: Clock,
    tokenizer: TextTokenizer,
    ids: list[int],
    tokens: int,
    sampling: Sampling,
    emit: Callable[[str], None],
) -> tuple[list[int], str, str]:
    """At most `tokens` tokens behind some ids, their text, and why they stop ("tokens", "end" or "context")."""
    runner, plan = clock.runner, clock.plan
    made, shown, token, stop = list[int](), "", -1, "tokens"
    runner.sampling(sampling)
    rows = plan.programs["prefill"].rows
    for start in range(0, len(ids), rows):
        token = clock.run("prefill", ids[start : start + rows])
    while True:
        if token in tokenizer.eos_ids:
            stop = "end"
            break
        made.append(token)
        grown = tokenizer.decode(made)
        if not grown.endswith(UNFINISHED) and grown.startswith(shown):
            emit(grown[len(shown) :])
            shown = grown
        if len(made) == tokens:
            break
        if runner.pos == plan.context:
            stop = "context"
            break
        token = clock.run("decode", [token])
    text = tokenizer.decode(made)
    if text.startswith(shown) and text != shown:
        emit(text[len(shown) :])
    return made, text, stop
