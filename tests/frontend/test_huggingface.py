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


def test_every_layer_of_mistral_slides(make_model: Any) -> None:
    folder, _ = make_model("mistral", sliding_window=32)
    config = load_checkpoint(str(folder)).config
    assert config.windows == (32, 32) and config.max_seq_len == 128


@pytest.mark.parametrize(("first_sliding_layer", "windows"), [(0, (32, 32)), (1, (0, 32)), (2, ())])
def test_qwen2_slides_from_some_layer_on(make_model: Any, first_sliding_layer: int, windows: tuple[int, ...]) -> None:
    options = {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": first_sliding_layer}
    folder, _ = make_model("qwen2", **options)
    assert load_checkpoint(str(folder)).config.windows == windows


def test_gemma2(make_model: Any) -> None:
    folder, state = make_model("gemma2", head_dim=8, sliding_window=16, query_pre_attn_scalar=144, pad_token_id=0)
    checkpoint = load_checkpoint(str(folder))
    config = checkpoint.config
    assert (config.activation, config.double_norms, config.tied_embeddings) == ("gelu_tanh", True, True)
    assert config.windows == (16, 0) and config.local_inv_freq == ()
    assert (config.query_scale, config.score_softcap, config.logit_softcap) == (1 / 12, 50.0, 30.0)
    assert config.embed_scale == np.sqrt(np.float32(32))
    for name, expected in state.items():
        if name != "lm_head.weight":
            assert np.array_equal(checkpoint.tensor(name), expected + np.float32("norm" in name)), name


def test_gemma3(make_model: Any) -> None:
    folder, state = make_model("gemma3_text", head_dim=8, sliding_window_pattern=2, sliding_window=9, pad_token_id=0)
    checkpoint = load_checkpoint(str(folder))
    config = checkpoint.config
    assert config.windows == (9, 0) and (config.is_local(0), config.is_local(1)) == (True, False)
    assert np.allclose(config.rope_inv_freq, 1e6 ** (-np.arange(4) / 4), rtol=1e-6)
    assert np.allclose(config.local_inv_freq, 1e4 ** (-np.arange(4) / 4), rtol=1e-6)
    assert (config.query_scale, config.score_softcap, config.logit_softcap) == (1 / 16, 0, 0)
    name = "model.layers.1.self_attn.q_norm.weight"
    assert np.array_equal(checkpoint.tensor(name), 1 + state[name])


def test_phi3_matrices_are_rows_of_fused_ones(make_model: Any) -> None:
    folder, state = make_model("phi3", pad_token_id=0, sliding_window=100)
    checkpoint = load_checkpoint(str(folder))
    assert checkpoint.config.windows == (100, 100)
    layer = "model.layers.1."
    for roles, fused in ((("q", "k", "v"), "self_attn.qkv_proj"), (("gate", "up"), "mlp.gate_up_proj")):
        module = fused.partition(".")[0]
        parts = [checkpoint.tensor(f"{layer}{module}.{role}_proj.weight") for role in roles]
        assert np.array_equal(np.concatenate(parts), state[f"{layer}{fused}.weight"])
        assert f"{layer}{fused}.weight" not in checkpoint


GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "n_inner": 48}
H = "transformer.h.1."


@pytest.mark.parametrize("headless", [False, True])
def test_gpt2(headless: bool, make_model: Any, edit_tensors: Any) -> None:
    """Matrices are stored as [inputs, outputs], q, k and v side by side; the hub's files lack the prefix."""
    folder, state = make_model("gpt2", **GPT2)
    masks = {"transformer.h.0.attn.bias": np.ones((1, 1, 4, 4), np.float32)}
    if headless:
        edit_tensors(folder, lambda t: {n.removeprefix("transformer."): a for n, a in (t | masks).items()})
    checkpoint = load_checkpoint(str(folder))
    config = checkpoint.config
    assert (config.layer_norms, config.gated, config.learned_positions) == (True, False, True)
    assert (config.activation, config.ffn_dim, config.max_seq_len, config.query_scale) == ("gelu_tanh", 48, 128, 0.0)
    module = "model.layers.1.self_attn."
    parts = [checkpoint.tensor(f"{module}{role}_proj.weight") for role in "qkv"]
    assert np.array_equal(np.concatenate(parts), state[f"{H}attn.c_attn.weight"].T)
    assert np.array_equal(checkpoint.tensor(f"{module}k_proj.bias"), state[f"{H}attn.c_attn.bias"][32:64])
    assert np.array_equal(checkpoint.tensor("model.layers.1.mlp.up_proj.weight"), state[f"{H}mlp.c_fc.weight"].T)
    assert np.array_equal(checkpoint.tensor("model.embed_positions.weight"), state["transformer.wpe.weight"])
    assert np.array_equal(checkpoint.tensor("model.norm.bias"), state["transformer.ln_f.bias"])
    assert sum(a.size for n, a in state.items() if n != "lm_head.weight") == sum(
        checkpoint.tensor(name).size for name in checkpoint.readers
    )


def test_gpt_neo(make_model: Any) -> None:
    options = {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 9}
    folder, state = make_model("gpt_neo", **options)
    checkpoint = load_checkpoint(str(folder))
    config = checkpoint.config
    assert (config.windows, config.query_scale, config.ffn_dim) == ((0, 9), 1.0, 48)
    name = "model.layers.1.self_attn.o_proj"
    assert np.array_equal(checkpoint.tensor(f"{name}.weight"), state[f"{H}attn.attention.out_proj.weight"])
    assert np.array_equal(checkpoint.tensor(f"{name}.bias"), state[f"{H}attn.attention.out_proj.bias"])
    assert "model.layers.1.self_attn.q_proj.bias" not in checkpoint


@pytest.mark.parametrize(("longest", "factor"), [(128, np.sqrt(1 + np.log(2) / np.log(64))), (64, 1.0)])
def test_longrope_as_far_as_its_original_context(make_model: Any, longest: int, factor: float) -> None:
    short, long = [1.0, 1.5, 2.0, 2.5], [3.0, 4.0, 5.0, 6.0]
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": short, "long_factor": long}
    rope["original_max_position_embeddings"] = 64
    options = {"max_position_embeddings": longest, "original_max_position_embeddings": 64, "rope_parameters": rope}
    folder, _ = make_model("phi3", pad_token_id=0, **options)
    checkpoint = load_checkpoint(str(folder))
    config = checkpoint.config
    assert config.max_seq_len == 64 and config.rope_factor == pytest.approx(factor)
    assert np.allclose(config.rope_inv_freq, 1e4 ** (-np.arange(4) / 4) / short, rtol=1e-6)
    assert len(checkpoint.provenance["notes"]) == (longest > 64)


def test_the_tokenizer_of_distilled_models(make_model: Any) -> None:
    """DeepSeek-R1's distilled Qwen and Llama: special tokens given as objects, and BOS in front."""
    folder, _ = make_model("qwen2", eos_token_id=257)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    token = {"__type": "AddedToken", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    settings |= {"add_bos_token": True, "add_eos_token": False, "tokenizer_class": "LlamaTokenizerFast"}
    settings |= {"bos_token": token | {"content": "<s>"}, "eos_token": token | {"content": "</s>"}, "legacy": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = load_checkpoint(str(folder)).tokenizer
    assert tokenizer is not None and (tokenizer.bos_id, tokenizer.eos_ids, tokenizer.add_bos) == (256, (257,), True)
    assert tokenizer.encode("a")[0] == 256 and tokenizer.decode(tokenizer.encode("a <b>")) == "a <b>"


def test_old_style_configuration(make_model: Any, edit_config: Any) -> None:
    """Files from before transformers 5 write rope_theta and rope_scaling apart."""
    folder, _ = make_model("llama")
    edit_config(folder, rope_parameters=None, rope_theta=250000.0, rope_scaling={"type": "linear", "factor": 2.0})
    frequencies = load_checkpoint(str(folder)).config.rope_inv_freq
    assert np.allclose(frequencies, [0.5 / 250000 ** (i / 4) for i in range(4)], rtol=1e-6)
    assert "rope_theta" in json.loads((folder / "config.json").read_text())
