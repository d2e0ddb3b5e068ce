"""Models with a tokenizer of every kind, and trimming one to a text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgec.compress.stage import Calibration, Work
from edgec.compress.vocab import Vocab
from edgec.frontend.checkpoint import Checkpoint
from tests.compress.small_tokenizers import tokenizer_of
from tests.tiny_models import checkpoint, config


def model_with(kind: str = "byte_level", padded: int = 5, **changes: Any) -> Checkpoint:
    """A random model for a tokenizer of this kind, with rows behind the last token."""
    tokenizer = tokenizer_of(kind)
    source = checkpoint(config(vocab_size=tokenizer.backend.get_vocab_size() + padded, **changes))
    return replace(source, tokenizer=tokenizer)


def trim(model: Checkpoint, text: Path, **options: Any) -> tuple[Checkpoint, dict[str, Any]]:
    work = Work(lambda: model, Calibration(str(text)))
    return Vocab(**options).run(model, work), work.notes
