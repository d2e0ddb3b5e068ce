"""config.json of a Hugging Face folder → ModelConfig, or a refusal that names what edgec would compute wrongly."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgec.errors import ModelError
from edgec.frontend import bart, bert
from edgec.frontend.checks import (
    ATTENTION_BIAS,
    MAX_LAYERS,
    MLP_BIAS,
    QK_NORM,
    QKV_BIAS,
    checked_config,
    one_line,
)
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.quantized_folder import Quantization, read_quantization
from edgec.frontend.quiet import quiet_transformers
from edgec.frontend.rope import original_context, rotary
from edgec.frontend.tokenizer import read_json

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma2", "gemma3_text", "gpt2", "gpt_neo")
GPT = ("gpt2", "gpt_neo")
GPT_MLP_BIAS = MLP_BIAS - {"mlp.gate_proj.bias"}
GPT_BIASES = {"gpt2": ATTENTION_BIAS | GPT_MLP_BIAS, "gpt_neo": GPT_MLP_BIAS | {"self_attn.o_proj.bias"}}
GEMMA = ("gemma2", "gemma3_text")
ACTIVATIONS = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
UNGATED = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}


@dataclass
class Architecture:
    """A configuration, the per-layer tensors beyond its usual ones, and what the user should know."""

    config: ModelConfig
    extras: frozenset[str]
    notes: list[str] = field(default_factory=list)
    rope_parameters: dict[str, Any] = field(default_factory=dict)
    quantization: Quantization | None = None  # how the matrices are stored; None: in float


def read_architecture(folder: Path) -> Architecture:
    """The architecture that `folder`/config.json describes. Raises ModelError if edgec does not lower it."""
    where = str(folder / "config.json")
    raw = read_json(folder / "config.json")
    if raw.get("model_type") in bert.FAMILIES:
        encoder, _, notes = bert.read_encoder(folder)
        return Architecture(encoder, frozenset(), notes)
    if raw.get("model_type") in bart.FAMILIES:
        both, notes = bart.read_seq2seq(folder)
        return Architecture(both, frozenset(), notes)
    _refuse_unknown(where, raw)
    stored = raw.get("quantization_config")
    quantization = None if stored is None else read_quantization(where, stored)
    config = _parse(folder, where)
    family = str(config.model_type)
    context = config.max_position_embeddings
    heads, hidden_dim = config.num_attention_heads, config.hidden_size
    if not all(isinstance(n, int) and n > 0 for n in (heads, hidden_dim, context)):
        raise ModelError(
            f"{where} gives {heads} heads, hidden size {hidden_dim}, {context} positions; none may be zero."
        )
    if family in GPT:
        return Architecture(_gpt(where, config), GPT_BIASES[family], [], {}, quantization)
    head_dim = getattr(config, "head_dim", None)
    head_dim = hidden_dim // heads if head_dim is None else head_dim
    if not isinstance(head_dim, int):
        raise ModelError(f"{where} gives head_dim as {head_dim!r}; it must be a whole number.")
    rope = dict(config.rope_parameters or {})
    notes = []
    if (original := original_context(rope)) and original < context:
        notes.append(f"rotary factors are others beyond {original:,} positions; the context is limited to them")
    windows = _windows(where, config)
    local = _local_rope(where, family, head_dim, rope, context)
    inv_freq, rope_factor = rotary(where, head_dim, rope.get("full_attention", rope), context)
    if original:  # which follows from the longer context, and is written into folders of the shorter one
        rope |= {"attention_factor": rope_factor}
    model = checked_config(
        where,
        family=family,
        vocab_size=config.vocab_size,
        hidden_dim=hidden_dim,
        n_layers=config.num_hidden_layers,
        n_heads=heads,
        n_kv_heads=config.num_key_value_heads,
        head_dim=head_dim,
        ffn_dim=config.intermediate_size,
        norm_eps=config.rms_norm_eps,
        max_seq_len=min(context, original or context),
        rope_inv_freq=inv_freq,
        rope_factor=rope_factor,
        tied_embeddings=bool(config.tie_word_embeddings),
        activation=_activation(where, config),
        windows=windows,
        local_inv_freq=local,
        **(_gemma(where, family, config) if family in GEMMA else {}),
    )
    return Architecture(model, _extras(family, config), notes, rope, quantization)


def _gpt(where: str, config: Any) -> ModelConfig:
    """GPT-2 or GPT-Neo: learned positions, norms with means and biases, a feed-forward network without a gate."""
    for option in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        if getattr(config, option, False):
            raise ModelError(f"{where} sets {option}, which edgec does not lower.")
    if config.activation_function not in UNGATED:
        known = ", ".join(UNGATED)
        raise ModelError(f"{where} asks for the activation {config.activation_function!r}; edgec lowers {known}.")
    heads, hidden_dim = config.num_attention_heads, config.hidden_size
    if hidden_dim % heads:
        raise ModelError(f"{where} gives {heads} heads for a hidden size of {hidden_dim}; they must divide it.")
    neo = config.model_type == "gpt_neo"
    inner = config.intermediate_size if neo else config.n_inner
    scaled = not neo and config.scale_attn_weights
    return checked_config(
        where,
        family=str(config.model_type),
        vocab_size=config.vocab_size,
        hidden_dim=hidden_dim,
        n_layers=config.num_hidden_layers,
        n_heads=heads,
        n_kv_heads=heads,
        head_dim=hidden_dim // heads,
        ffn_dim=4 * hidden_dim if inner is None else inner,
        norm_eps=config.layer_norm_epsilon,
        max_seq_len=config.max_position_embeddings,
        rope_inv_freq=(),
        tied_embeddings=bool(config.tie_word_embeddings),
        activation=UNGATED[config.activation_function],
        gated=False,
        layer_norms=True,
        learned_positions=True,
        query_scale=0.0 if scaled else 1.0,
        windows=_local_windows(where, config) if neo else (),
    )


def _local_windows(where: str, config: Any) -> tuple[int, ...]:
    window = config.window_size
    if not isinstance(window, int) or window < 1:
        raise ModelError(f"{where} gives window_size as {window!r}; it must be a positive whole number.")
    kinds = list(config.attention_layers)
    for kind in sorted(set(kinds) - {"global", "local"}):
        raise ModelError(f"{where} has layers of kind {kind!r}; edgec lowers global and local attention.")
    return tuple(window if kind == "local" else 0 for kind in kinds) if "local" in kinds else ()


def _activation(where: str, config: Any) -> str:
    named = getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", None)
    if not isinstance(named, str) or named not in ACTIVATIONS:
        raise ModelError(f"{where} asks for the activation {named!r}; edgec lowers {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[named]


def _gemma(where: str, family: str, config: Any) -> dict[str, Any]:
    """What sets Gemma 2 and 3 apart. Raises ModelError for what transformers ignores or edgec does not compute."""
    if config.use_bidirectional_attention:
        raise ModelError(f"{where} asks for attention in both directions; edgec lowers causal attention.")
    if family == "gemma3_text" and config.attn_logit_softcapping:
        raise ModelError(f"{where} sets attn_logit_softcapping, which transformers ignores for {family}; remove it.")
    scalar = config.query_pre_attn_scalar
    if not isinstance(scalar, (int, float)) or not 0 < scalar < 1e9:
        raise ModelError(f"{where} gives query_pre_attn_scalar as {scalar!r}; it must be a positive number.")
    caps = {"score_softcap": config.attn_logit_softcapping, "logit_softcap": config.final_logit_softcapping}
    for cap in caps.values():
        if cap is not None and (not isinstance(cap, (int, float)) or not 0 <= cap < 1e9):
            raise ModelError(f"{where} gives a soft cap as {cap!r}; it must be a positive number, or null.")
    return {
        "double_norms": True,
        # In float32, as transformers computes it where the weights are float32: not the bfloat16 of the training code.
        "embed_scale": float(np.float32(config.hidden_size**0.5)),
        "query_scale": float(scalar) ** -0.5,
        **{name: float(cap or 0) for name, cap in caps.items()},
    }


def _local_rope(where: str, family: str, head_dim: int, rope: dict[str, Any], context: int) -> tuple[float, ...]:
    """The frequencies of layers with a window, where they have their own."""
    if family != "gemma3_text":
        return ()
    local = rope.get("sliding_attention")
    if not isinstance(local, dict) or not isinstance(rope.get("full_attention"), dict):
        raise ModelError(f"{where} must give rotary parameters for full_attention and for sliding_attention.")
    frequencies, factor = rotary(where, head_dim, local, context)
    if factor != 1 or local.get("rope_type") == "longrope":
        raise ModelError(f"{where} scales the rotation of windowed layers by {local.get('rope_type')!r}, not lowered.")
    return frequencies


def config_of(file: Path) -> ModelConfig:
    """The shape that a config.json describes, without weights. Raises ModelError."""
    return architecture_of(file).config


def architecture_of(file: Path) -> Architecture:
    """All that a config.json, of whatever file name, says. Raises ModelError."""
    if not file.is_file():
        raise ModelError(f"{file} does not exist; give the config.json of a checkpoint.")
    if file.name == "config.json":
        return read_architecture(file.parent)
    with tempfile.TemporaryDirectory(prefix="edgec-") as folder:  # transformers reads folders with that one name
        shutil.copyfile(file, Path(folder) / "config.json")
        return read_architecture(Path(folder))


def _refuse_unknown(where: str, raw: dict[str, Any]) -> None:
    """Refuse, before transformers is imported, what no parsing can make computable."""
    family = raw.get("model_type")
    if family not in FAMILIES:
        hint = " (the text model alone is gemma3_text)" if family == "gemma3" else ""
        known = ", ".join((*FAMILIES, *bert.FAMILIES, *bart.FAMILIES))
        raise ModelError(f"{where}: edgec does not lower architecture {family!r}{hint}; known: {known}.")
    if isinstance(custom := raw.get("auto_map"), dict) and "AutoModelForCausalLM" in custom:
        raise ModelError(f"{where} replaces the {family} model by code of its own, which edgec neither runs nor knows.")


def _parse(folder: Path, where: str) -> Any:
    """The configuration as transformers completes it with the family's defaults."""
    quiet_transformers()
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # validation errors of several libraries
        raise ModelError(f"{where} is not a valid configuration: {one_line(error)}.") from error


def _windows(where: str, config: Any) -> tuple[int, ...]:
    """How many positions each layer sees (0: all), () if all see all. Raises ModelError for other kinds of layer."""
    kinds = list(getattr(config, "layer_types", None) or ())
    for kind in sorted(set(kinds) - {"full_attention", "sliding_attention"}):
        raise ModelError(f"{where} has layers of kind {kind!r}; edgec lowers full and sliding attention.")
    window, n_layers = getattr(config, "sliding_window", None), config.num_hidden_layers
    if window is None or (kinds and "sliding_attention" not in kinds) or config.model_type == "llama":
        return ()
    if not isinstance(window, int) or window < 1:
        raise ModelError(f"{where} gives sliding_window as {window!r}; it must be a positive whole number.")
    if kinds:
        return tuple(window if kind == "sliding_attention" else 0 for kind in kinds)
    return (window,) * n_layers if isinstance(n_layers, int) and 0 < n_layers <= MAX_LAYERS else ()


def _extras(family: str, config: Any) -> frozenset[str]:
    """The tensors of a layer that depend on the family and on its bias options."""
    extras: frozenset[str] = frozenset()
    if family == "qwen2":
        extras |= QKV_BIAS
    if family in ("llama", "qwen3", *GEMMA) and config.attention_bias:
        extras |= ATTENTION_BIAS
    if family == "llama" and config.mlp_bias:
        extras |= MLP_BIAS
    if family in ("qwen3", "gemma3_text"):
        extras |= QK_NORM
    return extras
