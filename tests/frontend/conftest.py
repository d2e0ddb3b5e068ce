"""Tiny models for the front ends, and the form that every refusal has."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.errors import ModelError
from tests.frontend.gguf_models import write_gguf

Arrays = dict[str, np.ndarray[Any, Any]]
VOCAB = 300


@pytest.fixture
def refuses() -> Callable[..., str]:
    """refuses(action, *words): the action raises ModelError, in one sentence that holds all the words."""

    def check(action: Callable[[], object], *words: str) -> str:
        with pytest.raises(ModelError) as caught:
            action()
        message = str(caught.value)
        assert "\n" not in message and message.endswith(".") and not message.endswith("..")
        for word in words:
            assert word in message, message
        return message

    return check


@pytest.fixture(name="write_tokenizer")
def write_tokenizer_fixture() -> Callable[..., None]:
    """write_tokenizer(folder, **settings): tokenizer.json and tokenizer_config.json with these settings."""
    return write_tokenizer


def write_tokenizer(folder: Path, **settings: Any) -> None:
    """A byte-level tokenizer.json with BOS 256 and EOS 257."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<s>", "eos_token": "</s>", **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., tuple[Path, Arrays]]:
    """make_model(family, **config): a folder with a random model and a tokenizer, and the model's tensors."""

    def make(family: str, shard: str = "5GB", **options: Any) -> tuple[Path, Arrays]:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        sizes = {
            "vocab_size": VOCAB,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 128,
            "bos_token_id": 256,
            "eos_token_id": 257,
        }
        torch.manual_seed(0)
        auto: Any = AutoModelForCausalLM
        model = auto.from_config(AutoConfig.for_model(family, **{**sizes, **options}))
        with torch.no_grad():
            for parameter in model.parameters():  # biases start at zero and norms at one: tell them apart
                parameter.normal_()
        folder = tmp_path / "model"
        model.save_pretrained(folder, max_shard_size=shard)
        write_tokenizer(folder)
        return folder, {name: t.numpy().copy() for name, t in model.state_dict().items()}

    return make


@pytest.fixture
def edit_config() -> Callable[..., None]:
    """edit_config(folder, **changes): change config.json; None removes a key."""

    def edit(folder: Path, **changes: Any) -> None:
        path = folder / "config.json"
        config = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))

    return edit


@pytest.fixture
def edit_tensors() -> Callable[..., None]:
    """edit_tensors(folder, change): rewrite model.safetensors with the dict that `change` returns or alters."""

    def edit(folder: Path, change: Callable[[Arrays], Arrays | None]) -> None:
        from safetensors.numpy import load_file, save_file

        path = folder / "model.safetensors"
        tensors = dict(load_file(path))
        save_file(change(tensors) or tensors, path)

    return edit


@pytest.fixture
def make_gguf(make_model: Any, tmp_path: Path) -> Callable[..., tuple[Path, Arrays]]:
    """make_gguf(family, metadata, quantise, more, **config): a .gguf file of a random model, and its tensors."""
    return partial(write_gguf, tmp_path / "model.gguf", make_model)
