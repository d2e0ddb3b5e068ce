"""Negative log-likelihood of text under the float model or the quantised reference.

Protocol: the text's tokens as one stream, cut into windows of `window` tokens, each with BOS in front where the model
uses one (a window then spans window + 1 positions); every token of the stream is predicted once, except the first of a
window without BOS. Sums are in float64; bits per byte divides by the UTF-8 bytes of the predicted text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgec.errors import EdgecError
from edgec.frontend.checkpoint import TextTokenizer
from edgec.simulate.reference import ReferenceRunner


@dataclass(frozen=True)
class Likelihood:
    """Sum of -ln p over `tokens` predicted tokens that stand for `text_bytes` bytes."""

    nll: float
    tokens: int
    text_bytes: int
    window: int

    @property
    def perplexity(self) -> float:
        """exp of the mean over tokens."""
        return math.exp(self.nll / self.tokens)

    @property
    def bits_per_byte(self) -> float:
        """Bits of all tokens over bytes of the text."""
        return self.nll / math.log(2) / self.text_bytes


def likelihood(
    runner: ReferenceRunner,
    tokenizer: TextTokenizer,
    text: str,
    window: int,
    progress: Callable[[int, int], None] | None = None,
    start: Sequence[int] = (),
) -> Likelihood:
    """Likelihood of a text; `runner` has the graph "score" (see passes/score_rows.py).

    start: tokens in front of a window in place of BOS: of a model that writes about a source, which was read.
    """
    stream = list(tokenizer.backend.encode(text, add_special_tokens=False).ids)
    if len(stream) < 2:
        raise EdgecError(f"a text of {len(stream)} tokens is too short to measure a model on.")
    front = list(start) or ([tokenizer.bos_id] if tokenizer.add_bos and tokenizer.bos_id is not None else [])
    window = min(window, runner.context - max(0, len(front) - 1))
    total, count = 0.0, 0
    for first in range(0, len(stream), window):
        if progress:
            progress(first, len(stream))
        piece = stream[first : first + window]
        fed = [*front, *piece[:-1]] if front else piece[:-1]
        wanted = piece if front else piece[1:]
        if wanted:
            total += _window_nll(runner, fed, wanted)
            count += len(wanted)
    return Likelihood(total, count, len(text.encode()), window)


def _window_nll(runner: ReferenceRunner, fed: list[int], wanted: list[int]) -> float:
    runner.reset()
    rows = runner.graphs["score"].rows
    total, unasked = 0.0, len(fed) - len(wanted)  # rows in front of the one that predicts the first wanted token
    for start in range(0, len(fed), rows):
        logits = score(runner, fed[start : start + rows])[max(0, unasked - start) :]
        first = max(0, start - unasked)
        total += float(-log_softmax(logits)[np.arange(len(logits)), wanted[first : first + len(logits)]].sum())
    return total


def score(runner: ReferenceRunner, tokens: list[int]) -> NDArray[np.float64]:
    """Logits [m, vocabulary] of at most `rows` tokens, float64."""
    return runner.values("score", tokens)[runner.graphs["score"].outputs[0]].astype(np.float64)


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-probabilities along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
