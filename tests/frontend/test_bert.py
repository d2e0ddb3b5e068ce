"""BERT-type encoders in folders: every tensor, the tokens around a text, and what is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders
from safetensors.numpy import load_file, save_file

from edgec.frontend.encoder_config import POSITIONS, EncoderConfig
from edgec.frontend.huggingface_config import config_of
from edgec.frontend.load import load_checkpoint
from tests.frontend.changed_folder import change, loads


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_encoders.saved(tmp_path)
    return tmp_path


def test_every_tensor(folder: Path) -> None:
    """Read by another reader, under BERT's own names."""
    stored = load_file(folder / "model.safetensors")
    checkpoint = load_checkpoint(str(folder))
    config = checkpoint.config
    assert isinstance(config, EncoderConfig)
    assert (config.pooling, config.normalize, config.gelu, config.norm_eps) == ("mean", True, "erf", 1e-12)
    assert set(checkpoint.readers) == set(config.tensor_shapes())
    same = {
        "model.embed_tokens.weight": "embeddings.word_embeddings.weight",
        "model.embed_norm.bias": "embeddings.LayerNorm.bias",
        "model.layers.2.self_attn.q_proj.weight": "encoder.layer.2.attention.self.query.weight",
        "model.layers.2.self_attn.k_proj.bias": "encoder.layer.2.attention.self.key.bias",
        "model.layers.0.self_attn.v_proj.weight": "encoder.layer.0.attention.self.value.weight",
        "model.layers.1.self_attn.o_proj.weight": "encoder.layer.1.attention.output.dense.weight",
        "model.layers.1.self_attn_norm.weight": "encoder.layer.1.attention.output.LayerNorm.weight",
        "model.layers.0.mlp.up_proj.weight": "encoder.layer.0.intermediate.dense.weight",
        "model.layers.0.mlp.down_proj.bias": "encoder.layer.0.output.dense.bias",
        "model.layers.2.mlp_norm.bias": "encoder.layer.2.output.LayerNorm.bias",
    }
    for ours, theirs in same.items():
        assert (checkpoint.tensor(ours) == stored[theirs]).all(), ours
    types = stored["embeddings.token_type_embeddings.weight"]
    assert (checkpoint.tensor(POSITIONS) == stored["embeddings.position_embeddings.weight"] + types[0]).all()


def test_a_text_stands_between_its_two_tokens(folder: Path) -> None:
    tokenizer = load_checkpoint(str(folder)).tokenizer
    assert tokenizer is not None
    ids = {word: i for i, word in enumerate(tiny_encoders.WORDS)}
    want = [ids[word] for word in ("[CLS]", "the", "old", "boat", "##s", ".", "[SEP]")]
    assert tokenizer.encode("The old boats.") == want
    assert tokenizer.encode_within("The old boats.", 4) == [*want[:3], want[-1]]
    assert tokenizer.encode_within("The old boats.", 7) == want


def test_old_names_of_norms_and_a_shorter_limit(folder: Path) -> None:
    checkpoint = load_checkpoint(str(folder))
    before = {name: checkpoint.tensor(name) for name in checkpoint.readers}
    stored = load_file(folder / "model.safetensors")
    old = {n.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): t for n, t in stored.items()}
    old["embeddings.position_ids"] = np.arange(64, dtype=np.int64)[None]
    save_file(old, folder / "model.safetensors", {"format": "pt"})
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32}))
    after = load_checkpoint(str(folder))
    assert after.config.max_seq_len == 32
    assert "texts are cut at 32 of 64 positions" in after.provenance["notes"][0]
    for name, tensor in before.items():
        assert (after.tensor(name) == tensor[: 32 if name == POSITIONS else None]).all()


def test_the_configuration_alone(folder: Path) -> None:
    assert config_of(folder / "config.json") == load_checkpoint(str(folder)).config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_act": "relu"}, ("relu", "gelu")),
        ({"position_embedding_type": "relative_key"}, ("relative_key", "absolute")),
        ({"is_decoder": True}, ("decoder",)),
        ({"auto_map": {"AutoModel": "x.Y"}}, ("code of its own",)),
        ({"quantization_config": {"quant_method": "gptq"}}, ("quantised",)),
        ({"num_attention_heads": 3}, ("3 heads", "40")),
        ({"num_hidden_layers": 0}, ("n_layers", "0")),
        ({"layer_norm_eps": -1.0}, ("layer_norm_eps", "-1.0")),
        ({"num_hidden_layers": 2}, ("encoder.layer.2.", "does not use")),
        ({"num_hidden_layers": 4}, ("model.layers.3.", "no tensor")),
        ({"max_position_embeddings": 63}, ("embeddings.position_embeddings.weight", "[64, 40]")),
    ],
)
def test_refuses(folder: Path, refuses: Callable[..., str], changes: dict[str, Any], words: tuple[str, ...]) -> None:
    change(folder, **changes)
    refuses(loads(folder), *words)


def test_refuses_other_pooling(folder: Path, refuses: Callable[..., str]) -> None:
    change(folder, "1_Pooling/config.json", pooling_mode_mean_tokens=False, pooling_mode_max_tokens=True)
    refuses(loads(folder), "pooling_mode_max_tokens", "mean")
    change(folder, "1_Pooling/config.json", pooling_mode_mean_tokens=True)
    refuses(loads(folder), "pooling_mode_mean_tokens and pooling_mode_max_tokens")
    (folder / "1_Pooling" / "config.json").unlink()
    refuses(loads(folder), "1_Pooling", "not there")


def test_refuses_other_modules(folder: Path, refuses: Callable[..., str]) -> None:
    tiny_encoders.write_modules(folder, "mean_tokens", ("Transformer", "Pooling", "Dense"))
    refuses(loads(folder), "Dense")
    tiny_encoders.write_modules(folder, "mean_tokens", ("Transformer", "Normalize"))
    refuses(loads(folder), "Transformer, Normalize")
    (folder / "modules.json").write_text("{}")
    refuses(loads(folder), "modules.json")


def test_refuses_what_is_missing_or_too_large(folder: Path, refuses: Callable[..., str]) -> None:
    stored = load_file(folder / "model.safetensors")
    types = stored.pop("embeddings.token_type_embeddings.weight")
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    refuses(loads(folder), "embeddings.token_type_embeddings.weight")
    stored["embeddings.token_type_embeddings.weight"] = types + np.float32(1e6)
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    refuses(lambda: load_checkpoint(str(folder)).tensor(POSITIONS), "16-bit")
