"""config.json of a Hugging Face folder → ModelConfig, or a refusal that names what edgec would compute wrongly."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgec.errors import ModelError
from edgec.frontend import bert
from edgec.frontend.checkpoint import ModelConfig
from edgec.frontend.checks import (
    ATTENTION_BIAS,
    MLP_BIAS,
    QK_NORM,
    QKV_BIAS,
    checked_config,
    one_line,
)
from edgec.frontend.quantized_folder import Quantization, read_quantization
from edgec.frontend.quiet import quiet_transformers
from edgec.frontend.rope import rotary
from edgec.frontend.tokenizer import read_json

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


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
    _refuse_unknown(where, raw)
    stored = raw.get("quantization_config")
    quantization = None if stored is None else read_quantization(where, stored)
    config = _parse(folder, where)
    family = str(config.model_type)
    if (activation := config.hidden_act) not in ("silu", "swish"):
        raise ModelError(f"{where} asks for the activation {activation!r}; edgec lowers silu only.")
    window = _window(where, config)
    context = config.max_position_embeddings
    notes = []
    if window is not None and isinstance(context, int) and window < context:
        notes.append(
            f"attention slides over {window:,} positions of {context:,}; "
            f"the context is limited to {window:,}, where both are the same"
        )
    heads, hidden_dim = config.num_attention_heads, config.hidden_size
    if not all(isinstance(n, int) and n > 0 for n in (heads, hidden_dim, context)):
        raise ModelError(
            f"{where} gives {heads} heads, hidden size {hidden_dim}, {context} positions; none may be zero."
        )
    head_dim = getattr(config, "head_dim", None)
    head_dim = hidden_dim // heads if head_dim is None else head_dim
    if not isinstance(head_dim, int):
        raise ModelError(f"{where} gives head_dim as {head_dim!r}; it must be a whole number.")
    inv_freq, rope_factor = rotary(where, head_dim, config.rope_parameters or {}, context)
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
        max_seq_len=min(context, window or context),
        rope_inv_freq=inv_freq,
        rope_factor=rope_factor,
        tied_embeddings=bool(config.tie_word_embeddings),
    )
    return Architecture(model, _extras(family, config), notes, dict(config.rope_parameters or {}), quantization)


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
        raise ModelError(
            f"{where}: edgec does not lower architecture {family!r}; known: {', '.join((*FAMILIES, *bert.FAMILIES))}."
        )
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


def _window(where: str, config: Any) -> int | None:
    """The length of the attention window if any layer has one. Raises ModelError for other kinds of layer."""
    kinds = set(getattr(config, "layer_types", None) or ())
    for kind in sorted(kinds - {"full_attention", "sliding_attention"}):
        raise ModelError(f"{where} has layers of kind {kind!r}; edgec lowers full attention.")
    window = getattr(config, "sliding_window", None)
    if window is None or (kinds and "sliding_attention" not in kinds) or config.model_type == "llama":
        return None
    if not isinstance(window, int) or window < 1:
        raise ModelError(f"{where} gives sliding_window as {window!r}; it must be a positive whole number.")
    return window


def _extras(family: str, config: Any) -> frozenset[str]:
    """The tensors of a layer that depend on the family and on its bias options."""
    extras: frozenset[str] = frozenset()
    if family == "qwen2":
        extras |= QKV_BIAS
    if family in ("llama", "qwen3") and config.attention_bias:
        extras |= ATTENTION_BIAS
    if family == "llama" and config.mlp_bias:
        extras |= MLP_BIAS
    if family == "qwen3":
        extras |= QK_NORM
    return extras
