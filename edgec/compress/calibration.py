"""Calibration windows: consecutive tokens of a text file.

A .jsonl file is read as one {"text"} a line, joined by blank lines; a .txt file as it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgec.compress.stage import Calibration, Tokens
from edgec.errors import EdgecError, RecipeError
from edgec.frontend.checkpoint import Checkpoint


def read_text(path: str | Path) -> str:
    """The text of a .txt or .jsonl file. Raises RecipeError if it cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        if Path(path).suffix == ".jsonl":
            text = "\n\n".join(json.loads(line)["text"] for line in text.splitlines() if line.strip())
    except OSError as error:
        raise RecipeError(f"the text {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise RecipeError(f"the text {path} is not UTF-8.") from None
    except (ValueError, KeyError, TypeError):
        raise RecipeError(f'{path} is not JSON lines with a "text" each.') from None
    return text


def rows_of(raw: bytes, name: str) -> list[dict[str, Any]]:
    """Rows of a .jsonl file, or of a .json file with a list. Raises EdgecError if it is neither or empty."""
    try:
        text = raw.decode("utf-8")
        lines = [text] if text.lstrip().startswith("[") else [line for line in text.splitlines() if line.strip()]
        parsed = [json.loads(line) for line in lines]
        found = parsed[0] if text.lstrip().startswith("[") else parsed
    except ValueError as error:
        raise EdgecError(f"{name} is not JSON, one object a line or a list of them: {error}.") from None
    if not found or not all(isinstance(row, dict) for row in found):
        raise EdgecError(f"{name} holds no list of objects.")
    return list(found)


def windows(
    model: Checkpoint,
    calibration: Calibration,
    samples: int | None = None,
    length: int | None = None,
    at_most: bool = False,
) -> Tokens:
    """Windows [samples, length] of a calibration text, BOS in front and EOS behind each where the model uses them.

    `at_most` takes fewer windows from a text that has no more. Raises RecipeError if it is too short otherwise.
    """
    samples, length = samples or calibration.samples, length or calibration.length
    length = min(length, model.config.max_seq_len)
    if not calibration.file:
        raise RecipeError("this stage needs a calibration text; name one with --calibration or [calibration] file.")
    if model.tokenizer is None:
        raise RecipeError("the checkpoint has no tokenizer, so no text can calibrate it; name one with --tokenizer.")
    tokenizer = model.tokenizer
    bos = [tokenizer.bos_id] if tokenizer.add_bos and tokenizer.bos_id is not None else []
    eos = list(tokenizer.eos_ids[:1]) if tokenizer.add_eos else []
    fresh = length - len(bos) - len(eos)
    # A token is at most a few hundred characters; 24 a token is ample for any language, so long files stay cheap.
    text = read_text(calibration.file)
    ids = tokenizer.backend.encode(text[: samples * fresh * 24], add_special_tokens=False).ids
    if at_most:
        samples = max(1, min(samples, len(ids) // fresh))
    if len(ids) < samples * fresh:
        raise RecipeError(
            f"{Path(calibration.file).name} has {len(ids):,} tokens; {samples} samples of {length} need "
            f"{samples * fresh:,}. Give a longer text or fewer samples."
        )
    stream = np.asarray(ids[: samples * fresh], np.int64).reshape(samples, fresh)
    around = [np.tile(np.asarray(each, np.int64), (samples, 1)) for each in (bos, eos)]
    return np.concatenate([around[0], stream, around[1]], axis=1)
