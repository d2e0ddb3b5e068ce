"""Tokenizers of Hugging Face folders: the ids of the beginning and of the end, and older file formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgec.frontend.tokenizer import folder_tokenizer


def test_ids_from_every_file(tmp_path: Path, write_tokenizer: Any) -> None:
    write_tokenizer(tmp_path, eos_token={"content": "</s>"})
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [256, 257], "bos_token_id": 3}))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 9}))
    tokenizer = folder_tokenizer(tmp_path)
    assert (tokenizer.bos_id, tokenizer.eos_ids, tokenizer.add_bos) == (256, (256, 257), False)


def test_ids_from_the_configuration(tmp_path: Path, write_tokenizer: Any) -> None:
    write_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": [9, 10], "bos_token_id": 256}))
    tokenizer = folder_tokenizer(tmp_path)
    assert (tokenizer.bos_id, tokenizer.eos_ids, tokenizer.add_bos) == (256, (9, 10), False)


def test_null_bos_means_none(tmp_path: Path, write_tokenizer: Any) -> None:
    """Qwen's config.json has a bos_token_id, but its tokenizer says that there is no such token."""
    write_tokenizer(tmp_path, bos_token=None, add_bos_token=True)
    (tmp_path / "config.json").write_text(json.dumps({"bos_token_id": 256}))
    tokenizer = folder_tokenizer(tmp_path)
    assert tokenizer.bos_id is None and not tokenizer.add_bos and tokenizer.encode("a") == tokenizer.encode("a")


@pytest.mark.parametrize("explicit", [True, False, None])
def test_add_bos(explicit: bool | None, tmp_path: Path, write_tokenizer: Any) -> None:
    """tokenizer_config.json decides; where it is silent, what tokenizer.json does with a text."""
    from tokenizers import Tokenizer, processors

    write_tokenizer(tmp_path, **({} if explicit is None else {"add_bos_token": explicit}))
    backend = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    backend.enable_truncation(2)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = folder_tokenizer(tmp_path)
    ids = tokenizer.encode("four")
    assert tokenizer.add_bos == (explicit is not False) == (ids[0] == 256)
    assert tokenizer.decode(ids) == "four"  # not truncated


def test_older_folder(tmp_path: Path, write_tokenizer: Any) -> None:
    write_tokenizer(tmp_path)
    vocab = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text(json.dumps({**vocab, "ab": 258, "<s>": 256, "</s>": 257}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    settings = {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    tokenizer = folder_tokenizer(tmp_path)
    assert tokenizer.encode("abc") == [258, vocab["c"]]


@pytest.mark.parametrize(
    ("name", "text"), [("tokenizer.json", "{}"), ("tokenizer_config.json", "["), ("config.json", "3")]
)
def test_damaged(name: str, text: str, tmp_path: Path, refuses: Any, write_tokenizer: Any) -> None:
    write_tokenizer(tmp_path)
    (tmp_path / name).write_text(text)
    refuses(lambda: folder_tokenizer(tmp_path), name)


def test_damaged_older_file(tmp_path: Path, refuses: Any) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"junk")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    refuses(lambda: folder_tokenizer(tmp_path), str(tmp_path))
