"""Every family loads with the right configuration and with exactly the tensors that transformers holds."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edgec.frontend.load import load_checkpoint

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "llama-biases-llama3": ("llama", {"attention_bias": True, "mlp_bias": True, "rope_parameters": LLAMA3_ROPE}),
    "llama-head-dim": ("llama", {"head_dim": 16}),
    "mistral": ("mistral", {"sliding_window": None, "head_dim": 12}),
    "qwen2": ("qwen2", {}),
    "qwen2-tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"head_dim": 12}),
    "qwen3-bias": ("qwen3", {"head_dim": 8, "attention_bias": True, "tie_word_embeddings": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_family(case: str, make_model: Any) -> None:
    family, options = CASES[case]
    folder, state = make_model(family, **options)
    checkpoint = load_checkpoint(str(folder))
    config = checkpoint.config
    assert (config.family, config.vocab_size, config.hidden_dim, config.n_layers) == (family, 300, 32, 2)
    assert (config.n_heads, config.n_kv_heads, config.ffn_dim, config.max_seq_len) == (4, 2, 48, 128)
    assert config.head_dim == options.get("head_dim", 8)
    assert config.norm_eps == 1e-6 and config.rope_factor == 1.0
    assert config.tied_embeddings == options.get("tie_word_embeddings", False)

    if config.tied_embeddings:
        del state["lm_head.weight"]
    assert checkpoint.readers.keys() == state.keys()
    assert ("model.layers.1.self_attn.q_proj.bias" in checkpoint) == (
        family == "qwen2" or bool(options.get("attention_bias"))
    )
    for name, expected in state.items():
        got = checkpoint.tensor(name)
        assert got.dtype == np.float32 and got.flags.c_contiguous
        assert np.array_equal(got, expected), name


def test_provenance_and_tokenizer(make_model: Any) -> None:
    folder, _ = make_model("llama")
    checkpoint = load_checkpoint(str(folder))
    assert checkpoint.provenance["source"] == str(folder)
    assert checkpoint.provenance["format"] == "huggingface"
    files = checkpoint.provenance["files"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files.keys()
    assert all(len(digest) == 64 for digest in files.values())
    tokenizer = checkpoint.tokenizer
    assert tokenizer is not None and (tokenizer.bos_id, tokenizer.eos_ids) == (256, (257,))
    assert tokenizer.decode(tokenizer.encode("Grüße!")) == "Grüße!"


def test_shards(make_model: Any) -> None:
    folder, state = make_model("llama", shard="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    checkpoint = load_checkpoint(str(folder))
    assert all(np.array_equal(checkpoint.tensor(name), state[name]) for name in state)
    assert "model.safetensors.index.json" in checkpoint.provenance["files"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_stored_precision(dtype: str, make_model: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder, _ = make_model("llama")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    checkpoint = load_checkpoint(str(folder))
    for name, tensor in model.state_dict().items():
        assert np.array_equal(checkpoint.tensor(name), tensor.float().numpy()), name


def test_harmless_tensors_are_left_out(make_model: Any, edit_tensors: Any) -> None:
    folder, state = make_model("llama", tie_word_embeddings=True)

    def add(tensors: dict[str, Any]) -> None:
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(4, np.float32)
        tensors["lm_head.weight"] = state["model.embed_tokens.weight"]

    edit_tensors(folder, add)
    checkpoint = load_checkpoint(str(folder))
    assert "lm_head.weight" not in checkpoint and not any("inv_freq" in name for name in checkpoint.readers)


def test_sliding_window_limits_the_context(make_model: Any) -> None:
    folder, _ = make_model("mistral", sliding_window=32)
    checkpoint = load_checkpoint(str(folder))
    assert checkpoint.config.max_seq_len == 32
    assert "limited to 32" in checkpoint.provenance["notes"][0]


@pytest.mark.parametrize(("first_sliding_layer", "limit"), [(1, 32), (2, 128)])
def test_qwen2_window_counts_if_a_layer_uses_it(make_model: Any, first_sliding_layer: int, limit: int) -> None:
    options = {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": first_sliding_layer}
    folder, _ = make_model("qwen2", **options)
    assert load_checkpoint(str(folder)).config.max_seq_len == limit


def test_old_style_configuration(make_model: Any, edit_config: Any) -> None:
    """Files from before transformers 5 write rope_theta and rope_scaling apart."""
    folder, _ = make_model("llama")
    edit_config(folder, rope_parameters=None, rope_theta=250000.0, rope_scaling={"type": "linear", "factor": 2.0})
    frequencies = load_checkpoint(str(folder)).config.rope_inv_freq
    assert np.allclose(frequencies, [0.5 / 250000 ** (i / 4) for i in range(4)], rtol=1e-6)
    assert "rope_theta" in json.loads((folder / "config.json").read_text())
