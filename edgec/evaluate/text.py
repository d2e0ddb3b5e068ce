"""Tasks on a text: perplexity over whole windows, and bits per byte of all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgec.errors import EdgecError
from edgec.evaluate.perplexity import Likelihood, log_softmax
from edgec.evaluate.scorer import Scorer


@dataclass(frozen=True)
class TextLikelihood(Likelihood):
    """A text's likelihood over so many windows; bos: each began with the token that begins a text."""

    windows: int
    bos: bool


def text_likelihood(
    scorer: Scorer,
    text: str,
    window: int,
    windows: int | None = None,
    whole: bool = True,
    say: Callable[[str, int, int], None] = lambda text, done, total: None,
) -> TextLikelihood:
    """Likelihood of a text as one stream of tokens, cut into windows of at most `window` tokens of it.

    With BOS, where the model uses one, a window has one more position and every token is predicted; without, the first
    token of each window is not. `whole` drops a last window that is not full; `windows` stops after so many. Raises
    EdgecError for a text that is too short.
    """
    tokenizer = scorer.tokenizer
    stream = list(tokenizer.backend.encode(text, add_special_tokens=False).ids)
    front = [tokenizer.bos_id] if tokenizer.add_bos and tokenizer.bos_id is not None else []
    window = min(window, scorer.context)
    starts = [s for s in range(0, len(stream), window) if not whole or s + window <= len(stream)][:windows]
    if not starts or len(stream) < 2:
        raise EdgecError(f"the text has {len(stream):,} tokens, less than one window of {window}.")
    nll, count = 0.0, 0
    for done, start in enumerate(starts):
        say("windows", done, len(starts))
        piece = stream[start : start + window]
        fed, wanted = ([*front, *piece[:-1]], piece) if front else (piece[:-1], piece[1:])
        if wanted:
            chances = log_softmax(scorer.logits(fed).astype(np.float64))
            nll -= float(chances[np.arange(len(wanted)), wanted].sum())
            count += len(wanted)
    covered = stream[: starts[-1] + window]
    text_bytes = len(text.encode()) if len(covered) == len(stream) else len(tokenizer.backend.decode(covered).encode())
    return TextLikelihood(nll, count, text_bytes, window, len(starts), bool(front))
