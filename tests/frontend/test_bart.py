"""BART-type models in folders: every tensor, the tokens of generation, and what is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_seq2seq
from safetensors.numpy import load_file, save_file

from edgec.frontend.huggingface_config import config_of
from edgec.frontend.load import load_checkpoint
from edgec.frontend.seq2seq_config import ENCODER_POSITIONS, HEAD_BIAS, POSITIONS, Seq2SeqConfig
from tests.frontend.changed_folder import change, loads


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_seq2seq.saved(tmp_path)
    return tmp_path


def test_every_tensor(folder: Path) -> None:
    """Read by another reader, under BART's own names."""
    stored = load_file(folder / "model.safetensors")
    checkpoint = load_checkpoint(str(folder))
    config = checkpoint.config
    assert isinstance(config, Seq2SeqConfig)
    assert (config.n_layers, config.encoder_layers, config.ffn_dim, config.encoder_ffn_dim) == (2, 2, 48, 56)
    assert set(checkpoint.readers) == set(config.tensor_shapes()) and len(stored) == len(checkpoint.readers) + 1
    same = {
        "model.embed_tokens.weight": "model.shared.weight",
        "model.encoder.embed_norm.bias": "model.encoder.layernorm_embedding.bias",
        "model.embed_norm.weight": "model.decoder.layernorm_embedding.weight",
        "model.encoder.layers.1.self_attn.q_proj.weight": "model.encoder.layers.1.self_attn.q_proj.weight",
        "model.encoder.layers.0.mlp_norm.bias": "model.encoder.layers.0.final_layer_norm.bias",
        "model.layers.1.self_attn.o_proj.weight": "model.decoder.layers.1.self_attn.out_proj.weight",
        "model.layers.0.self_attn_norm.weight": "model.decoder.layers.0.self_attn_layer_norm.weight",
        "model.layers.0.cross_attn.k_proj.bias": "model.decoder.layers.0.encoder_attn.k_proj.bias",
        "model.layers.1.cross_attn.o_proj.weight": "model.decoder.layers.1.encoder_attn.out_proj.weight",
        "model.layers.1.cross_attn_norm.bias": "model.decoder.layers.1.encoder_attn_layer_norm.bias",
        "model.layers.0.mlp.up_proj.weight": "model.decoder.layers.0.fc1.weight",
        "model.layers.1.mlp.down_proj.bias": "model.decoder.layers.1.fc2.bias",
    }
    for ours, theirs in same.items():
        assert (checkpoint.tensor(ours) == stored[theirs]).all(), ours
    for ours, half in ((POSITIONS, "decoder"), (ENCODER_POSITIONS, "encoder")):
        assert (checkpoint.tensor(ours) == stored[f"model.{half}.embed_positions.weight"][2:]).all()


def test_a_bias_of_logits_only_where_there_is_one(tmp_path: Path) -> None:
    model = tiny_seq2seq.saved(tmp_path, bias=True)
    checkpoint = load_checkpoint(str(tmp_path))
    assert (checkpoint.tensor(HEAD_BIAS) == model.final_logits_bias[0].numpy()).all()
    tiny_seq2seq.saved(tmp_path)
    assert HEAD_BIAS not in load_checkpoint(str(tmp_path))


def test_old_exports(folder: Path) -> None:
    """Without the head's prefix, with the table of tokens for each of its users."""
    before = load_checkpoint(str(folder))
    tensors = {name: before.tensor(name) for name in before.config.tensor_shapes()}
    stored = {name.removeprefix("model."): t for name, t in load_file(folder / "model.safetensors").items()}
    table = stored.pop("shared.weight")
    stored |= {f"{half}.embed_tokens.weight": table.copy() for half in ("encoder", "decoder")}
    stored.pop("final_logits_bias")
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    after = load_checkpoint(str(folder))
    for name, tensor in tensors.items():
        assert (after.tensor(name) == tensor).all(), name
    assert after.config == before.config


def test_how_generation_begins_and_ends(folder: Path) -> None:
    checkpoint = load_checkpoint(str(folder))
    assert isinstance(checkpoint.config, Seq2SeqConfig) and checkpoint.config.decoder_start == (2,)
    assert checkpoint.tokenizer is not None and checkpoint.tokenizer.encode("the boat") == [0, 4, 6, 2]
    assert checkpoint.tokenizer.encode_within("the old blue boat", 4) == [0, 4, 9, 2]
    change(folder, forced_bos_token_id=5, num_beams=4)  # as folders of the first years say it
    change(folder, "generation_config.json", decoder_start_token_id=3, eos_token_id=[2, 9], length_penalty=2.0)
    checkpoint = load_checkpoint(str(folder))
    assert isinstance(checkpoint.config, Seq2SeqConfig) and checkpoint.config.decoder_start == (3, 5)
    assert checkpoint.tokenizer is not None and checkpoint.tokenizer.eos_ids == (2, 9)
    assert "left out of the folder's search: num_beams 4, length_penalty 2.0" in checkpoint.provenance["notes"][0]


def test_the_configuration_alone(folder: Path) -> None:
    assert config_of(folder / "config.json") == load_checkpoint(str(folder)).config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"activation_function": "relu"}, ("relu", "gelu")),
        ({"tie_word_embeddings": False}, ("head of its own",)),
        ({"is_encoder_decoder": False}, ("decoder alone",)),
        ({"normalize_before": True}, ("normalize_before",)),
        ({"auto_map": {"AutoModel": "x.Y"}}, ("code of its own",)),
        ({"quantization_config": {"quant_method": "gptq"}}, ("quantised",)),
        ({"encoder_attention_heads": 3}, ("3 heads of the encoder", "40")),
        ({"decoder_attention_heads": 7}, ("7 heads of the decoder", "40")),
        ({"decoder_layers": 0}, ("decoder_layers", "0")),
        ({"decoder_layers": 1}, ("model.decoder.layers.1.", "does not use")),
        ({"encoder_layers": 3}, ("model.encoder.layers.2.", "no tensor")),
        ({"max_position_embeddings": 63}, ("embed_positions.weight", "[64, 40]")),
        ({"forced_bos_token_id": 97}, ("[2, 97]", "vocabulary")),
        ({"forced_bos_token_id": "x"}, ("forced_bos_token_id", "'x'")),
        ({"model_type": "mbart"}, ("mbart", "bart")),
    ],
)
def test_refuses(folder: Path, refuses: Callable[..., str], changes: dict[str, Any], words: tuple[str, ...]) -> None:
    change(folder, **changes)
    refuses(loads(folder), *words)


def test_refuses_tables_that_differ_and_large_positions(folder: Path, refuses: Callable[..., str]) -> None:
    stored = load_file(folder / "model.safetensors")
    save_file(stored | {"lm_head.weight": stored["model.shared.weight"] + 1}, folder / "model.safetensors")
    refuses(loads(folder), "lm_head.weight differs from model.shared.weight")
    stored["model.encoder.embed_positions.weight"] += np.float32(1e6)
    save_file(stored, folder / "model.safetensors")
    refuses(lambda: load_checkpoint(str(folder)).tensor(ENCODER_POSITIONS), "16-bit")
