"""What a GGUF file says, and what llama.cpp knows by itself, of Gemma 2 and 3."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.errors import ModelError
from edgec.frontend.checks import MAX_LAYERS

# As llama.cpp has them for files that do not say: the window, every which layer sees all, caps of scores and logits.
DEFAULTS = {"gemma2": (4096, 2, 50.0, 30.0), "gemma3": (0, 6, 0.0, 0.0)}
# The two models whose scores are scaled by the hidden size instead of the head's, by their number of layers.
SCALED_BY_HIDDEN = {"gemma2": 46, "gemma3": 62}


def gemma_fields(where: str, family: str, values: dict[str, Any], n_layers: int) -> dict[str, Any]:
    """Fields of ModelConfig beside LLaMA's. Raises ModelError for values that make no sense."""
    window, every, score_cap, logit_cap = DEFAULTS[family]
    window = values.get("attention.sliding_window", window)
    pattern = values.get("attention.sliding_window_pattern", every)
    caps = {
        "score_softcap": values.get("attn_logit_softcapping", score_cap),
        "logit_softcap": values.get("final_logit_softcapping", logit_cap),
    }
    sound = all(isinstance(cap, (int, float)) and 0 <= cap < 1e9 for cap in caps.values())
    if not isinstance(window, int) or window < 0 or not sound:
        raise ModelError(f"{where} gives a window of {window!r} and soft caps of {list(caps.values())}.")
    if family == "gemma3" and caps["score_softcap"]:
        raise ModelError(f"{where} sets {family}.attn_logit_softcapping, which Gemma 3 does not have.")
    hidden = int(values["embedding_length"])
    heads = int(values["attention.head_count"])
    head_dim = int(values.get("attention.key_length", hidden // heads))
    scalar = hidden // heads if n_layers == SCALED_BY_HIDDEN[family] else head_dim
    return {
        "activation": "gelu_tanh",
        "double_norms": True,
        "embed_scale": float(np.float32(hidden**0.5)),
        "query_scale": float(scalar) ** -0.5,
        "windows": _windows(where, window, pattern, n_layers) if window else (),
        **{name: float(cap) for name, cap in caps.items()},
    }


def _windows(where: str, window: int, pattern: Any, n_layers: int) -> tuple[int, ...]:
    """pattern: every which layer sees all, or for each layer whether it has a window."""
    layers = range(min(n_layers, MAX_LAYERS))
    if isinstance(pattern, list) and len(pattern) == n_layers:
        return tuple(window if slides else 0 for slides in pattern)
    if isinstance(pattern, int) and pattern >= 1:
        return tuple(window if (layer + 1) % pattern else 0 for layer in layers)
    raise ModelError(f"{where} gives attention.sliding_window_pattern as {pattern!r}, for {n_layers} layers.")
