"""What a model with an encoder reads while its matrices' inputs are measured, and what a BART is given to write.

An encoder reads windows of the calibration text, each between its two tokens. A model that reads and writes reads
sources and is given their summaries, if the calibration is a .jsonl file of both as `edgec evaluate --task summaries`
takes it. Of any other text it reads windows and writes them again, the task that BART was first trained on (Lewis et
al. 2019, arXiv 1910.13461) without its noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.compress.calibration import rows_of, windows
from edgec.compress.stage import Work
from edgec.errors import EdgecError
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.seq2seq_config import decoder_start

SOURCES, SUMMARIES = ("source", "article", "document"), ("summary", "highlights")


@dataclass(frozen=True)
class Text:
    """Token ids that are read, and those that are written about them, from the decoder's first one to the end."""

    read: list[int]
    written: list[int]


def calibration_texts(model: Checkpoint, work: Work, samples: int) -> list[Text]:
    """At most so many texts. Raises RecipeError for a text that is too short for one, EdgecError for damaged rows."""
    start, tokenizer = decoder_start(model.config), model.tokenizer
    file, most = Path(work.calibration.file), model.config.max_seq_len
    rows = _rows(file) if start and tokenizer else []
    if not rows or tokenizer is None:
        found = [window.tolist() for window in windows(model, work.calibration, samples, at_most=True)]
        return [Text(ids, _written(start, ids, most)) for ids in found]
    pairs = summary_pairs(rows[:samples], file.name)
    read = [tokenizer.encode_within(source, most) for source, _ in pairs]
    return [
        Text(ids, _written(start, tokenizer.encode(summary), most))
        for ids, (_, summary) in zip(read, pairs, strict=True)
    ]


def _written(start: Sequence[int], ids: list[int], most: int) -> list[int]:
    """The decoder's first tokens and a text that stands between two tokens, whose first one may be among them.

    Its inputs are all of these but the last one, so there may be one more than the decoder has positions.
    """
    return [*start, *(ids[1:] if len(start) > 1 else ids)][: most + 1] if start else []


def _rows(file: Path) -> list[dict[str, Any]]:
    """Rows of a file of sources and summaries; none of another file, which is read as a text."""
    if file.suffix != ".jsonl":
        return []
    try:
        found = rows_of(file.read_bytes(), file.name)
    except (OSError, EdgecError):
        return []  # the reader of texts says what is wrong with it
    return found if any(key in found[0] for key in SOURCES) else []


def summary_pairs(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[str, str]]:
    """(source, summary) of every row. Raises EdgecError for one that lacks either."""
    found = []
    for number, row in enumerate(rows, 1):
        pair = [
            next((row[key] for key in keys if isinstance(row.get(key), str)), None) for keys in (SOURCES, SUMMARIES)
        ]
        if not all(pair):
            raise EdgecError(
                f"{name}, line {number}: a source and a summary are wanted ({', '.join(SOURCES)}; summary)."
            )
        found.append((str(pair[0]), str(pair[1])))
    return found
