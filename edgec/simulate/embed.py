"""embed(): the vector of a text, with the time that the plan predicts and the one seen here."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgec.artifact import Artifact
from edgec.errors import OutputError
from edgec.report.speed import encoding_cycles

SHOWN = 8  # numbers of a vector in the summary


@dataclass(frozen=True)
class Embedding:
    """A text's vector. cut: the text was longer than the context; its end is left out."""

    text: str
    tokens: int
    cut: bool
    vector: list[float]
    chip_seconds: float
    wall_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def summary(self, target: str) -> str:
        """Lines for people."""
        norm = float(np.linalg.norm(np.asarray(self.vector)))
        shown = " ".join(f"{x:+.4f}" for x in self.vector[:SHOWN])
        cut = ", cut at the end of the context" if self.cut else ""
        predicted = f"predicted on {target}: {1000 * self.chip_seconds:,.1f} ms"
        return (
            f"{len(self.vector)} numbers, a vector of length {norm:.4f}: {shown} ...\n"
            f"{self.tokens} tokens{cut}; {predicted}; simulated here in {self.wall_seconds:,.3f} s"
        )


def embed(artifact: Artifact, text: str, by_plan: bool) -> Embedding:
    """The vector of a text by the plan's simulator, or by the reference. OutputError without a tokenizer."""
    if artifact.meta.get("tokenizer") is None:
        raise OutputError(f"{artifact.path} has no tokenizer; build it again with --tokenizer.")
    plan = artifact.plan
    whole = artifact.tokenizer.encode(text)
    ids = artifact.tokenizer.encode_within(text, plan.context)
    runner = artifact.simulator() if by_plan else artifact.reference()
    start = time.perf_counter()
    vector = runner.encode(ids)
    passed = time.perf_counter() - start
    predicted = encoding_cycles(plan, len(ids)) / plan.target.clock_hz
    return Embedding(text, len(ids), len(ids) < len(whole), [float(x) for x in vector], predicted, passed)
