"""rewrite(): what a model writes about a source, piece by piece, with the times that the plan predicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from edgec.artifact import Artifact
from edgec.ops.sample import Sampling
from edgec.simulate.generate import REASONS, Clock, continued, runner_of


@dataclass(frozen=True)
class Rewriting:
    """What was written about a source, why it stopped ("tokens", "end" or "context"), and how long it takes.

    cut: the source was longer than the context; its end is left out. Seconds are of reading and of writing.
    """

    source: str
    text: str
    source_tokens: int
    cut: bool
    tokens: list[int]
    stop: str
    chip_read_seconds: float
    chip_write_seconds: float
    wall_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def summary(self, target: str) -> str:
        """Lines for people."""
        cut = ", cut at the end of the context" if self.cut else ""
        return (
            f"{self.source_tokens} tokens read{cut}, {len(self.tokens)} written, {REASONS[self.stop]}; predicted on "
            f"{target}: {1000 * self.chip_read_seconds:,.1f} ms to read, {1000 * self.chip_write_seconds:,.1f} ms to "
            f"write; simulated here in {self.wall_seconds:,.3f} s"
        )


def rewrite(
    artifact: Artifact,
    source: str,
    tokens: int,
    sampling: Sampling,
    by_plan: bool,
    emit: Callable[[str], None] = lambda piece: None,
) -> Rewriting:
    """At most `tokens` tokens about a source; `emit` gets the text as it grows. OutputError without a tokenizer."""
    clock = Clock(runner_of(artifact, by_plan), artifact.plan)
    tokenizer = artifact.tokenizer
    whole = tokenizer.encode(source)
    read = tokenizer.encode_within(source, artifact.plan.context)
    clock.encode(read)
    made, text, stop = continued(clock, tokenizer, artifact.decoder_start, tokens, sampling, emit)
    return Rewriting(
        source,
        text,
        len(read),
        len(read) < len(whole),
        made,
        stop,
        clock.chip["encode"],
        clock.chip["prefill"] + clock.chip["decode"],
        sum(clock.wall.values()),
    )
