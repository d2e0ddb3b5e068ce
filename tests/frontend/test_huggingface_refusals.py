"""What a Hugging Face folder may hold that edgec would compute wrongly or cannot read: each one sentence."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest

from edgec.errors import ModelError
from edgec.frontend.load import load_checkpoint

REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "falcon": ({"model_type": "falcon"}, ["architecture 'falcon'", "llama, mistral, qwen2, qwen3, phi3, gemma2"]),
    "images": ({"model_type": "gemma3"}, ["architecture 'gemma3'", "the text model alone is gemma3_text"]),
    "no model_type": ({"model_type": None}, ["architecture None"]),
    "activation": ({"hidden_act": "gelu"}, ["'gelu'", "silu"]),
    "quantised": ({"quantization_config": {"quant_method": "gptq"}}, ["gptq"]),
    "own code": ({"auto_map": {"AutoModelForCausalLM": "m.M"}}, ["code"]),
    "dynamic": ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, ["'dynamic'"]),
    "partial": ({"partial_rotary_factor": 0.5}, ["0.5"]),
    "layers": ({"num_hidden_layers": 10**9}, ["n_layers"]),
    "heads": ({"num_attention_heads": 0}, ["config.json"]),
    "kv heads": ({"num_key_value_heads": 3}, ["config.json", "3"]),
    "vocabulary": ({"vocab_size": -5}, ["vocab_size"]),
    "head_dim": ({"head_dim": 7}, ["7"]),
    "text": ({"hidden_size": "big"}, ["config.json"]),
    "theta": ({"rope_parameters": {"rope_type": "default", "rope_theta": -1.0}}, ["rope_theta"]),
    "shape": ({"intermediate_size": 64}, ["gate_proj.weight", "[48, 32]", "[64, 32]"]),
    "missing bias": ({"attention_bias": True}, ["self_attn.", "bias"]),
    "untied": ({"num_hidden_layers": 3}, ["model.layers.2"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_configuration(case: str, make_model: Any, edit_config: Any, refuses: Any) -> None:
    folder, _ = make_model("llama")
    changes, words = REFUSED[case]
    edit_config(folder, **changes)
    refuses(lambda: load_checkpoint(str(folder)), *words)


GEMMA3 = {"head_dim": 8, "pad_token_id": 0}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "n_inner": 48}
ROPE = {"rope_type": "default", "rope_theta": 1e4}
REFUSED_OF_OTHERS: dict[str, tuple[str, dict[str, Any], dict[str, Any], list[str]]] = {
    "both directions": ("gemma3_text", GEMMA3, {"use_bidirectional_attention": True}, ["both directions"]),
    "ignored cap": ("gemma3_text", GEMMA3, {"attn_logit_softcapping": 30.0}, ["attn_logit_softcapping"]),
    "cap": ("gemma2", GEMMA3, {"final_logit_softcapping": -3.0}, ["soft cap", "-3.0"]),
    "scalar": ("gemma2", GEMMA3, {"query_pre_attn_scalar": 0}, ["query_pre_attn_scalar", "0"]),
    "activation": ("gemma2", GEMMA3, {"hidden_activation": "gelu"}, ["'gelu'", "gelu_pytorch_tanh"]),
    "local rope": (
        "gemma3_text",
        GEMMA3,
        {"rope_parameters": {"full_attention": ROPE, "sliding_attention": ROPE | {"rope_type": "yarn", "factor": 4.0}}},
        ["windowed layers", "'yarn'"],
    ),
    "part of a head": (
        "phi3",
        {"pad_token_id": 0},
        {"rope_parameters": ROPE | {"partial_rotary_factor": 0.5}},
        ["partial_rotary_factor 0.5"],
    ),
    "layer scales": ("gpt2", GPT2, {"scale_attn_by_inverse_layer_idx": True}, ["scale_attn_by_inverse_layer_idx"]),
    "ungated": ("gpt2", GPT2, {"activation_function": "relu"}, ["'relu'", "gelu_new"]),
    "columns": ("gpt2", GPT2, {"n_inner": 40}, ["up_proj.weight", "[48, 32]", "[40, 32]"]),
    "window": ("gpt_neo", {"num_layers": 2, "attention_types": [[["local"], 2]]}, {"window_size": 0}, ["window_size"]),
    "rows": ("phi3", {"pad_token_id": 0}, {"num_key_value_heads": 4}, ["qkv_proj.weight", "[64, 32]", "96 rows"]),
}


@pytest.mark.parametrize("case", REFUSED_OF_OTHERS)
def test_configuration_of_other_families(case: str, make_model: Any, edit_config: Any, refuses: Any) -> None:
    family, options, changes, words = REFUSED_OF_OTHERS[case]
    folder, _ = make_model(family, **options)
    edit_config(folder, **changes)
    refuses(lambda: load_checkpoint(str(folder)), *words)


def test_quantised_matrices_of_fused_families(make_model: Any, edit_config: Any, refuses: Any) -> None:
    folder, _ = make_model("phi3", pad_token_id=0)
    edit_config(
        folder,
        quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True},
    )
    refuses(lambda: load_checkpoint(str(folder)), "quantised", "phi3", "float checkpoint")


def test_unknown_kind_of_layer(make_model: Any, edit_config: Any, refuses: Any) -> None:
    folder, _ = make_model("qwen2")
    edit_config(folder, layer_types=["full_attention", "chunked_attention"])
    refuses(lambda: load_checkpoint(str(folder)), "chunked_attention")


def test_configuration_is_not_json(make_model: Any, refuses: Any) -> None:
    folder, _ = make_model("llama")
    (folder / "config.json").write_text("{")
    refuses(lambda: load_checkpoint(str(folder)), "config.json")


def test_any_value_is_a_sentence_or_harmless(make_model: Any, edit_config: Any) -> None:
    folder, _ = make_model("llama")
    original = json.loads((folder / "config.json").read_text())
    for key in [*original, "layer_types", "rope_scaling", "partial_rotary_factor", "quantization_config"]:
        for value in ("x", -1, 10**30, [["a"]], {"a": 1}, float("nan")):
            edit_config(folder, **{key: value})
            try:
                load_checkpoint(str(folder))
            except ModelError as error:
                assert "\n" not in str(error) and str(error).endswith("."), key
        edit_config(folder, **{key: original.get(key)})


def test_unexpected_tensors(make_model: Any, edit_tensors: Any, refuses: Any) -> None:
    folder, _ = make_model("llama")
    bias = "model.layers.0.self_attn.q_proj.bias"
    edit_tensors(folder, lambda tensors: tensors | {bias: np.zeros(32, np.float32)})
    refuses(lambda: load_checkpoint(str(folder)), bias)


def test_missing_tensor(make_model: Any, edit_tensors: Any, refuses: Any) -> None:
    folder, _ = make_model("llama")
    edit_tensors(folder, lambda tensors: {k: v for k, v in tensors.items() if k != "lm_head.weight"})
    refuses(lambda: load_checkpoint(str(folder)), "lm_head.weight")


def test_tied_head_that_differs(make_model: Any, edit_config: Any, refuses: Any) -> None:
    folder, _ = make_model("llama")
    edit_config(folder, tie_word_embeddings=True)
    refuses(lambda: load_checkpoint(str(folder)), "lm_head.weight", "tie_word_embeddings")


def test_dtype_that_is_no_float(make_model: Any, edit_tensors: Any, refuses: Any) -> None:
    folder, _ = make_model("llama")
    name = "model.norm.weight"
    edit_tensors(folder, lambda tensors: tensors | {name: np.ones(32, np.int8)})
    refuses(lambda: load_checkpoint(str(folder)), name, "I8")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(value: float, make_model: Any, edit_tensors: Any, refuses: Any) -> None:
    folder, _ = make_model("llama")
    name = "model.norm.weight"
    edit_tensors(folder, lambda tensors: tensors | {name: np.full(32, value, np.float32)})
    checkpoint = load_checkpoint(str(folder))
    refuses(lambda: checkpoint.tensor(name), name)


@pytest.mark.parametrize("keep", [0, 4, 100, 2000, -1])
def test_truncated(keep: int, make_model: Any, refuses: Any) -> None:
    folder, _ = make_model("llama")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    refuses(lambda: load_checkpoint(str(folder)), "model.safetensors")


def entry(dtype: Any = "F32", shape: Any = (2,), data_offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"model.norm.weight": {"dtype": dtype, "shape": shape, "data_offsets": data_offsets}}


@pytest.mark.parametrize(
    "header",
    [
        b"\xff" * 8,
        struct.pack("<Q", 1 << 62),
        b"not json",
        b"[" * 100_000,
        [],
        {"model.norm.weight": 3},
        entry(data_offsets=(0, 1 << 60)),
        entry(data_offsets=(8, 0)),
        entry(data_offsets=(0, 4)),
        entry(data_offsets=(-8, 0)),
        entry(shape=(1 << 60,)),
        entry(shape=("2",)),
        entry(dtype=4),
    ],
)
def test_absurd_header(header: Any, make_model: Any, refuses: Any) -> None:
    folder, _ = make_model("llama")
    if not isinstance(header, bytes):
        header = json.dumps(header).encode()
    data = header if len(header) == 8 and header != b"not json" else struct.pack("<Q", len(header)) + header
    (folder / "model.safetensors").write_bytes(data + bytes(8))
    refuses(lambda: load_checkpoint(str(folder)), "model.safetensors")


def test_pickle_only_and_no_weights(make_model: Any, refuses: Any) -> None:
    folder, _ = make_model("llama")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refuses(lambda: load_checkpoint(str(folder)), "pickle", str(folder))
    (folder / "pytorch_model.bin").unlink()
    refuses(lambda: load_checkpoint(str(folder)), "no weights", str(folder))


@pytest.mark.parametrize("change", ["missing", "outside", "not text", "empty"])
def test_damaged_index(change: str, make_model: Any, refuses: Any) -> None:
    folder, _ = make_model("llama", shard="20KB")
    index = folder / "model.safetensors.index.json"
    table = json.loads(index.read_text())
    if change == "missing":
        sorted(folder.glob("*.safetensors"))[0].unlink()
    else:
        table["weight_map"]["model.norm.weight"] = {"outside": "../x.safetensors", "not text": 7}.get(change)
        index.write_text(json.dumps(table if change != "empty" else {}))
    refuses(lambda: load_checkpoint(str(folder)), "index.json")


def test_missing_tokenizer(make_model: Any, refuses: Any) -> None:
    folder, _ = make_model("llama")
    (folder / "tokenizer.json").unlink()
    refuses(lambda: load_checkpoint(str(folder)), "no tokenizer", str(folder))
