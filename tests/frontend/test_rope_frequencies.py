"""Rotary frequencies equal those of transformers for every scaling that edgec knows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgec.frontend.rope import rotary

LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
CASES: list[dict[str, Any]] = [
    {"rope_type": "default", "rope_theta": 10000.0},
    {"rope_type": "default", "rope_theta": 1000000.0},
    {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, **LLAMA3},
    {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, **LLAMA3, "high_freq_factor": 2.0},
    {"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0, "original_max_position_embeddings": 32768},
    {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 16.0, "attention_factor": 0.7},
    {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 16.0, "mscale": 0.7, "mscale_all_dim": 1.3},
    {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False},
]


@pytest.mark.parametrize("head_dim", [8, 64, 128])
@pytest.mark.parametrize("parameters", CASES, ids=lambda p: f"{p['rope_type']}-{len(p)}-{p['rope_theta']:g}")
def test_equals_transformers(parameters: dict[str, Any], head_dim: int) -> None:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = LlamaConfig(
        hidden_size=4 * head_dim,
        num_attention_heads=4,
        max_position_embeddings=131072,
        rope_parameters=dict(parameters),
    )
    expected = LlamaRotaryEmbedding(config)
    frequencies, factor = rotary("config.json", head_dim, config.rope_parameters or {}, 131072)
    assert np.allclose(frequencies, expected.inv_freq.numpy(), rtol=1e-6, atol=0)
    assert factor == pytest.approx(expected.attention_scaling, rel=1e-12)


@pytest.mark.parametrize("more", [{}, {"factor": 4.0}, {"attention_factor": 1.3}])
def test_longrope_equals_transformers(more: dict[str, Any]) -> None:
    from transformers import Phi3Config
    from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding

    short = [1 + i / 7 for i in range(16)]
    parameters = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": short, "long_factor": [9.0] * 16, **more}
    parameters["original_max_position_embeddings"] = 4096
    sizes = {"hidden_size": 128, "num_attention_heads": 4, "vocab_size": 99, "pad_token_id": 0}
    config = Phi3Config(**sizes, max_position_embeddings=131072, rope_parameters=dict(parameters))
    expected = Phi3RotaryEmbedding(config)
    frequencies, factor = rotary("config.json", 32, config.rope_parameters or {}, 131072)
    assert np.allclose(frequencies, expected.inv_freq.numpy(), rtol=1e-6, atol=0)
    assert factor == pytest.approx(expected.attention_scaling, rel=1e-12)


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"rope_type": "longrope"}, "original_max_position_embeddings"),
        ({"rope_type": "longrope", "original_max_position_embeddings": 64, "short_factor": [1.0]}, "short_factor"),
        (
            {"rope_type": "longrope", "original_max_position_embeddings": 64, "short_factor": [0.0] * 32},
            "short_factor",
        ),
        ({"rope_type": "dynamic"}, "dynamic"),
        ({"mrope_section": [1, 2]}, "mrope_section"),
        ({"rope_theta": None}, "rope_theta"),
        ({"rope_theta": float("nan")}, "rope_theta"),
        ({"rope_type": "linear"}, "factor"),
        ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0}, "high_freq_factor"),
        ({"rope_theta": 1.0, "rope_type": "yarn", "factor": 2.0}, "rope_theta"),
    ],
)
def test_refused(parameters: dict[str, Any], word: str, refuses: Any) -> None:
    refuses(lambda: rotary("x/config.json", 64, {"rope_theta": 1e4} | parameters, 4096), "x/config.json", word)


@pytest.mark.parametrize("head_dim", [0, -2, 1 << 40])
def test_absurd_head(head_dim: int, refuses: Any) -> None:
    refuses(lambda: rotary("config.json", head_dim, {"rope_theta": 1e4}, 4096), "head_dim")
