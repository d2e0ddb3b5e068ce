"""The tokenizer of a Hugging Face folder, with the ids that generation needs.

`tokenizer.json` is read directly. Older folders (tokenizer.model, or vocab.json with merges.txt) go
through transformers, which converts them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgec.errors import ModelError
from edgec.frontend.checkpoint import TextTokenizer
from edgec.frontend.checks import one_line
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.quiet import quiet_transformers

if TYPE_CHECKING:
    from tokenizers import Tokenizer

OLDER_FILES = ("tokenizer.model", "vocab.json")
FILES = ("tokenizer.json", *OLDER_FILES, "merges.txt", "tokenizer_config.json", "generation_config.json")


def load_tokenizer(path: Path) -> TextTokenizer:
    """The tokenizer that a user names: a folder, a tokenizer.json file, or a llama2.c tokenizer (.bin)."""
    if path.is_dir():
        return folder_tokenizer(path)
    if not path.is_file():
        raise ModelError(f"{path} does not exist; a tokenizer is a folder, a tokenizer.json, or a llama2.c .bin file.")
    if path.suffix == ".bin":
        from edgec.frontend.llama2c import text_tokenizer

        return text_tokenizer(path)
    return folder_tokenizer(path.parent, path)


def folder_tokenizer(folder: Path, file: Path | None = None) -> TextTokenizer:
    """The tokenizer of `folder` (or the given tokenizer.json in it). Raises ModelError if there is none."""
    file = file or folder / "tokenizer.json"
    if file.is_file():
        backend = _from_json(file)
    elif any((folder / name).is_file() for name in OLDER_FILES):
        backend = _converted(folder)
    else:
        raise ModelError(f"{folder} has no tokenizer (tokenizer.json, tokenizer.model, or vocab.json with merges.txt).")
    backend.no_truncation()
    backend.no_padding()
    settings = read_json(folder / "tokenizer_config.json")
    generation = read_json(folder / "generation_config.json")
    config = read_json(folder / "config.json")

    bos = _token_id(backend, settings.get("bos_token"))
    if bos is None and "bos_token" not in settings:
        bos = next((i for s in (generation, config) for i in _ids(s.get("bos_token_id"))), None)
    # An instruction model often ends on two tokens, and its files name one each: stop at any of them.
    eos = [*_ids(generation.get("eos_token_id")), *_ids(_token_id(backend, settings.get("eos_token")))]
    add_bos = settings.get("add_bos_token")
    if not isinstance(add_bos, bool):
        add_bos = bos is not None and list(backend.encode("a").ids[:1]) == [bos]
    return TextTokenizer(
        backend,
        bos_id=bos,
        eos_ids=tuple(dict.fromkeys(eos or _ids(config.get("eos_token_id")))),
        add_bos=add_bos and bos is not None,
    )


def check_vocabulary(where: str, tokenizer: TextTokenizer, config: ModelConfig) -> None:
    """Raise ModelError if the tokenizer can produce an id for which the model has no embedding."""
    highest = max([*tokenizer.backend.get_vocab(with_added_tokens=True).values(), *tokenizer.eos_ids], default=-1)
    if highest >= config.vocab_size:
        raise ModelError(
            f"the tokenizer of {where} has token ids up to {highest:,}, the model only {config.vocab_size:,} embeddings"
            "; they do not belong together."
        )


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, {} if there is no such file. Raises ModelError if it is something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not valid JSON: {one_line(error)}.") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} must hold a JSON object.")
    return value


def _from_json(file: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise ModelError(f"{file} is not a tokenizer: {one_line(error)}.") from error


def _converted(folder: Path) -> Tokenizer:
    quiet_transformers()
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        backend: Tokenizer = loaded.backend_tokenizer
    except Exception as error:  # whatever transformers meets in a damaged file
        raise ModelError(f"{folder} has a tokenizer that transformers cannot convert: {one_line(error)}.") from error
    return backend


def _token_id(backend: Tokenizer, token: Any) -> int | None:
    """The id of a token given as text or as {"content": text}; None if there is none."""
    if isinstance(token, dict):
        token = token.get("content")
    return backend.token_to_id(token) if isinstance(token, str) else None


def _ids(value: Any) -> list[int]:
    """Token ids given as one number, a list, or nothing."""
    values = value if isinstance(value, list) else [value]
    return [i for i in values if isinstance(i, int) and not isinstance(i, bool) and i >= 0]
