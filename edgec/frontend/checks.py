"""Checks that every front end applies before a single weight is read."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from edgec.errors import ModelError
from edgec.frontend.model_config import ModelConfig

MAX_LAYERS = 1024  # more is a damaged header, and the list of tensor names grows with it
MAX_SIZE = 1 << 31  # elements along one axis

QKV_BIAS = frozenset(f"self_attn.{p}_proj.bias" for p in "qkv")
ATTENTION_BIAS = QKV_BIAS | {"self_attn.o_proj.bias"}
MLP_BIAS = frozenset(f"mlp.{p}_proj.bias" for p in ("gate", "up", "down"))
QK_NORM = frozenset({"self_attn.q_norm.weight", "self_attn.k_norm.weight"})


def one_line(error: BaseException, limit: int = 200) -> str:
    """The text of a foreign exception as the tail of a sentence: one line, no final stop."""
    text = " ".join(str(error).split()) or type(error).__name__
    return (text if len(text) <= limit else text[:limit] + " ...").rstrip(".")


def checked_config(where: str, **fields: Any) -> ModelConfig:
    """A ModelConfig whose sizes are positive and believable. `where` names the file in the ModelError otherwise."""
    for name in ("vocab_size", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "ffn_dim", "max_seq_len"):
        size = fields[name]
        limit = MAX_LAYERS if name == "n_layers" else MAX_SIZE
        if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= limit:
            raise ModelError(f"{where} gives {name} as {size!r}; it must be a whole number from 1 to {limit:,}.")
    eps = fields["norm_eps"]
    if not isinstance(eps, (int, float)) or not math.isfinite(eps) or eps < 0:
        raise ModelError(f"{where} gives norm_eps as {eps!r}; it must be a small positive number.")
    try:
        return ModelConfig(**fields)
    except ModelError as error:
        raise ModelError(f"{where} contradicts itself: {one_line(error)}.") from error


def check_tensors(
    where: str,
    config: ModelConfig,
    found: Mapping[str, tuple[int, ...]],
    extras: Iterable[str] = (),
    harmless: Collection[str] = (),
) -> None:
    """Prove that `found` (name: shape) is exactly the model: nothing missing, misshapen or left over.

    `extras` are the per-layer tensors beyond `config.tensor_shapes()` that this model needs, such as
    `self_attn.q_proj.bias`. A tensor that is neither needed nor `harmless` is refused, because a
    model computed without it would be a different model.
    """
    optional = config.optional_shapes()
    needed = dict(config.tensor_shapes())
    for layer in range(config.n_layers):
        for extra in sorted(extras):
            name = f"model.layers.{layer}.{extra}"
            needed[name] = optional[name]
    for name, shape in needed.items():
        if name not in found:
            raise ModelError(f"{where} has no tensor {name}; the model is incomplete or its configuration is wrong.")
        if found[name] != shape:
            raise ModelError(
                f"{where}: tensor {name} has shape {list(found[name])}, the configuration says {list(shape)}."
            )
    unknown = sorted(found.keys() - needed.keys() - set(harmless))
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise ModelError(
            f"{where} holds tensor {unknown[0]}{more} that a {config.family} model of this configuration does not use; "
            "edgec refuses rather than compute a different model."
        )
