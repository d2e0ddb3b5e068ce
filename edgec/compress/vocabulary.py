"""A model with fewer tokens: rows of embedding and head, packed or not, the tokenizer, and which tokens they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.compress.trimmed_tokenizer import trimmed_tokenizer
from edgec.frontend.checkpoint import Checkpoint, FloatArray

ROWS = ("model.embed_tokens.weight", "lm_head.weight")  # a row each token


def with_tokens(model: Checkpoint, ids: Sequence[int]) -> Checkpoint:
    """The model that knows tokens `ids` alone, ascending; codes and scales of packed rows are taken as they are."""
    rows = np.asarray(ids, np.int64)
    readers, packed = dict(model.readers), dict(model.packed)
    for name in ROWS:
        if name in model:
            readers[name] = partial(_rows, model, name, rows)
        if name in model.packed:
            packed[name] = partial(_packed_rows, model, name, rows)
    tokenizer = None if model.tokenizer is None else trimmed_tokenizer(model.tokenizer, ids)
    config = replace(model.config, vocab_size=len(ids))
    return replace(model, config=config, readers=readers, packed=packed, tokenizer=tokenizer)


def with_tokens_of(model: Checkpoint, stages: Sequence[Mapping[str, Any]]) -> Checkpoint:
    """The model with the tokens that are left after these stages: a teacher, or a float twin, of what they made.

    Its next-token distribution is then the original's under the condition that one of these tokens comes.
    """
    ids = original_tokens(stages)
    if ids is None:
        return model
    own = original_tokens(model.stages) or range(model.config.vocab_size)
    place = {token: row for row, token in enumerate(own)}
    return model if list(own) == ids else with_tokens(model, [place[token] for token in ids])


def original_tokens(stages: Sequence[Mapping[str, Any]]) -> list[int] | None:
    """For every token its id before any trimming; None if no stage trimmed the vocabulary."""
    for stage in reversed(stages):
        if stage.get("method") == "vocab":
            return ids_of(stage["notes"]["kept"])
    return None


def ranges_of(ids: Sequence[int]) -> str:
    """Ascending ids as text, runs of them as first and last: "0-258 260 262-270"."""
    runs = [[i for _, i in run] for _, run in groupby(enumerate(ids), key=lambda pair: pair[1] - pair[0])]
    return " ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def ids_of(ranges: str) -> list[int]:
    """The ids that `ranges_of` wrote."""
    ends = [run.split("-") for run in ranges.split()]
    return [i for run in ends for i in range(int(run[0]), int(run[-1]) + 1)]


def _rows(model: Checkpoint, name: str, rows: NDArray[np.int64]) -> FloatArray:
    return model.tensor(name)[rows]


def _packed_rows(model: Checkpoint, name: str, rows: NDArray[np.int64]) -> Any:
    return model.packed[name]().rows(rows)
