"""GGUF metadata → ModelConfig. Keys of the architecture that edgec does not know are refused, not skipped."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.errors import ModelError
from edgec.frontend.checks import MAX_LAYERS, checked_config
from edgec.frontend.gguf_gemma import gemma_fields
from edgec.frontend.gguf_header import GgufFile
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.rope import rotary

# transformers' names by GGUF's; Mistral's files say "llama".
FAMILIES = {f: f for f in ("llama", "qwen2", "qwen3", "gemma2")} | {"gemma3": "gemma3_text"}
ROPE_FACTORS = "rope_freqs.weight"  # one divisor for each frequency, as Llama 3.1 has them

KNOWN = {
    "vocab_size", "context_length", "embedding_length", "block_count", "feed_forward_length",
    "attention.head_count", "attention.head_count_kv", "attention.layer_norm_rms_epsilon",
    "attention.key_length", "attention.value_length", "attention.sliding_window",
    "rope.dimension_count", "rope.freq_base", "rope.scale_linear", "rope.scaling.type", "rope.scaling.factor",
    "rope.scaling.attn_factor", "rope.scaling.original_context_length", "rope.scaling.finetuned",
    "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
    "tensor_data_layout", "use_parallel_residual", "expert_count", "expert_used_count",
    "attn_logit_softcapping", "final_logit_softcapping", "attention.sliding_window_pattern", "rope.freq_base_swa",
}  # fmt: skip


def read_config(file: GgufFile) -> tuple[ModelConfig, list[str]]:
    """The configuration and notes to the user. Raises ModelError for what edgec would compute wrongly."""
    where, metadata = str(file.path), file.metadata
    family = metadata.get("general.architecture")
    if not isinstance(family, str) or family not in FAMILIES:
        raise ModelError(f"{where}: edgec does not lower architecture {family!r}; known: {', '.join(FAMILIES)}.")
    values = {key.removeprefix(family + "."): v for key, v in metadata.items() if key.startswith(family + ".")}
    unknown = sorted(values.keys() - KNOWN)
    if unknown:
        raise ModelError(f"{where} sets {family}.{unknown[0]}, which edgec does not know and will not ignore.")
    if values.get("expert_count") or values.get("use_parallel_residual"):
        raise ModelError(f"{where} is a mixture of experts or has parallel layers; edgec lowers dense models.")

    def integer(key: str, default: int | None = None) -> int:
        value = values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ModelError(f"{where} gives {family}.{key} as {value!r}; it must be a positive whole number.")
        return value

    hidden_dim, n_heads, context = (
        integer("embedding_length"),
        integer("attention.head_count"),
        integer("context_length"),
    )
    head_dim = integer("attention.key_length", hidden_dim // n_heads)
    if integer("attention.value_length", head_dim) != head_dim or integer("rope.dimension_count", head_dim) != head_dim:
        raise ModelError(f"{where} has heads whose key, value and rotary sizes differ; edgec needs them equal.")
    n_layers = integer("block_count")
    gemma = gemma_fields(where, family, values, n_layers) if family.startswith("gemma") else {}
    if not gemma and values.get("attention.sliding_window"):
        gemma["windows"] = (integer("attention.sliding_window"),) * min(n_layers, MAX_LAYERS)
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise ModelError(f"{where} has no tensor token_embd.weight with a row for each token.")
    inv_freq, rope_factor = rotary(where, head_dim, _rope_parameters(where, values), context)
    if family == "gemma3":
        local = {"rope_theta": values.get("rope.freq_base_swa", 10000.0)}
        gemma["local_inv_freq"] = rotary(where, head_dim, local, context)[0]
    config = checked_config(
        where,
        family=FAMILIES[family],
        vocab_size=embedding.shape[0],
        hidden_dim=hidden_dim,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=integer("attention.head_count_kv", n_heads),
        head_dim=head_dim,
        ffn_dim=integer("feed_forward_length"),
        norm_eps=values.get("attention.layer_norm_rms_epsilon"),
        max_seq_len=context,
        rope_inv_freq=_divided(file, inv_freq),
        rope_factor=rope_factor,
        tied_embeddings="output.weight" not in file.tensors,
        **gemma,
    )
    return config, []


def _rope_parameters(where: str, values: dict[str, Any]) -> dict[str, Any]:
    """llama.cpp's rotary keys in Hugging Face's words."""
    theta = values.get("rope.freq_base", 10000.0)
    kind = values.get("rope.scaling.type", "linear" if "rope.scale_linear" in values else "none")
    factor = values.get("rope.scaling.factor", values.get("rope.scale_linear"))
    if kind == "none" or (kind == "linear" and factor in (None, 0, 1)):
        return {"rope_theta": theta}
    if kind == "linear":
        return {"rope_theta": theta, "rope_type": kind, "factor": factor}
    if kind != "yarn":
        raise ModelError(f"{where} asks for rotary scaling {kind!r}; edgec knows none, linear, yarn.")
    if values.get("rope.scaling.attn_factor", 1.0) != 1.0:
        raise ModelError(f"{where} sets rope.scaling.attn_factor, which edgec does not support with yarn.")
    return {
        "rope_theta": theta,
        "rope_type": kind,
        "factor": factor,
        "original_max_position_embeddings": values.get("rope.scaling.original_context_length"),
        "beta_fast": values.get("rope.scaling.yarn_beta_fast"),
        "beta_slow": values.get("rope.scaling.yarn_beta_slow"),
    }


def _divided(file: GgufFile, inv_freq: tuple[float, ...]) -> tuple[float, ...]:
    """The frequencies divided by the factors that the file stores, if it does."""
    tensor = file.tensors.get(ROPE_FACTORS)
    if tensor is None:
        return inv_freq
    factors = tensor.read() if tensor.shape == (len(inv_freq),) else np.zeros(1, np.float32)
    if not np.isfinite(factors).all() or (factors <= 0).any():
        raise ModelError(f"{file.path}: tensor {ROPE_FACTORS} must hold {len(inv_freq)} positive numbers.")
    return tuple(float(f) for f in np.asarray(inv_freq, np.float32) / factors)
