"""Greedy continuation of a prompt by a scorer, until an end token, a stop string or a limit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgec.evaluate.scorer import Scorer


def greedy(
    scorer: Scorer,
    prompt: Sequence[int],
    max_new: int,
    stop: Sequence[str] = (),
    min_new: int = 0,
    skip_blanks: bool = False,
) -> str:
    """The continuation's text, cut before the first of the stop strings, or
    with skip_blanks of the first that comes behind more than blanks.

    A prompt that leaves no room for max_new tokens loses its beginning. Ties go to the lowest token id. No end token is
    chosen among the first min_new.
    """
    tokenizer = scorer.tokenizer
    prompt = list(prompt)[-max(1, scorer.context - max_new) :]
    session = scorer.session()
    made: list[int] = []
    text = ""

    def chosen(logits: NDArray[np.float32]) -> int:
        if len(made) < min_new and tokenizer.eos_ids:
            logits = logits.copy()
            logits[list(tokenizer.eos_ids)] = -np.inf
        return int(logits.argmax())

    token = chosen(session.feed(prompt, keep=1)[-1])
    while token not in tokenizer.eos_ids:
        made.append(token)
        text = tokenizer.backend.decode([*prompt[-1:], *made], skip_special_tokens=True)
        text = text.removeprefix(tokenizer.backend.decode(list(prompt[-1:]), skip_special_tokens=True))
        blank = len(text) - len(text.lstrip()) if skip_blanks else 0
        ends = [text.index(s, blank) for s in stop if s and s in text[blank:]]
        if ends:
            return text[: min(ends)]
        if len(made) >= max_new or session.position >= scorer.context:
            return text
        token = chosen(session.feed([token], keep=1)[-1])
    return text
