"""Greedy continuation of a prompt by a scorer, until an end token, a stop string or a limit."""

from __future__ import annotations

from collections.abc import Sequence

from edgec.evaluate.scorer import Scorer


def greedy(scorer: Scorer, prompt: Sequence[int], max_new: int, stop: Sequence[str] = ()) -> str:
    """The continuation's text, cut before the first of the stop strings.

    A prompt that leaves no room for max_new tokens loses its beginning. Ties go to the lowest token id.
    """
    tokenizer = scorer.tokenizer
    prompt = list(prompt)[-max(1, scorer.context - max_new) :]
    session = scorer.session()
    token = int(session.feed(prompt, keep=1)[-1].argmax())
    made: list[int] = []
    text = ""
    while token not in tokenizer.eos_ids:
        made.append(token)
        text = tokenizer.backend.decode([*prompt[-1:], *made], skip_special_tokens=True)
        text = text.removeprefix(tokenizer.backend.decode(list(prompt[-1:]), skip_special_tokens=True))
        ends = [text.index(s) for s in stop if s and s in text]
        if ends:
            return text[: min(ends)]
        if len(made) >= max_new or session.position >= scorer.context:
            return text
        token = int(session.feed([token], keep=1)[-1].argmax())
    return text
