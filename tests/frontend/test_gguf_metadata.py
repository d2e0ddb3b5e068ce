"""GGUF metadata: RoPE, windows, Gemma's forms; what would be computed wrongly is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgec.errors import ModelError
from edgec.frontend import gguf as gguf_front_end
from edgec.frontend.gguf_header import GgufFile, read_gguf
from edgec.frontend.load import load_checkpoint


@pytest.mark.parametrize(
    ("metadata", "parameters"),
    [
        ({}, {"rope_type": "default", "rope_theta": 10000.0}),
        ({"{arch}.rope.freq_base": 5e5}, {"rope_type": "default", "rope_theta": 5e5}),
        (
            {"{arch}.rope.scaling.type": "linear", "{arch}.rope.scaling.factor": 4.0},
            {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
        ),
        (
            {
                "{arch}.rope.scaling.type": "yarn",
                "{arch}.rope.scaling.factor": 4.0,
                "{arch}.rope.scaling.original_context_length": 32,
            },
            {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32},
        ),
    ],
)
def test_rope(metadata: dict[str, Any], parameters: dict[str, Any], make_gguf: Any) -> None:
    from edgec.frontend.rope import rotary

    path, _ = make_gguf("qwen2", metadata)
    config = load_checkpoint(str(path)).config
    assert (config.rope_inv_freq, config.rope_factor) == rotary("x", 8, parameters, 128)


def test_rope_factors_of_llama3(make_gguf: Any) -> None:
    factors = np.array([1, 1, 2, 8], np.float32)
    path, _ = make_gguf("llama", more={"rope_freqs.weight": factors})
    frequencies = load_checkpoint(str(path)).config.rope_inv_freq
    assert np.allclose(frequencies, 10000.0 ** -(np.arange(4) / 4) / factors, rtol=1e-6)


def test_sliding_window(make_gguf: Any) -> None:
    path, _ = make_gguf("llama", {"{arch}.attention.sliding_window": 40})
    config = load_checkpoint(str(path)).config
    assert config.windows == (40, 40) and config.max_seq_len == 128


SWA = "{arch}.attention.sliding_window"

GEMMAS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("gemma2", {}, {"windows": (4096, 0), "score_softcap": 50.0, "logit_softcap": 30.0}),
    (
        "gemma2",
        {SWA: 9, "{arch}.attn_logit_softcapping": 5.0, "{arch}.final_logit_softcapping": 7.0},
        {"windows": (9, 0), "score_softcap": 5.0, "logit_softcap": 7.0},
    ),
    ("gemma3_text", {SWA: 16}, {"windows": (16, 16), "score_softcap": 0.0, "logit_softcap": 0.0}),
    ("gemma3_text", {SWA: 16, f"{SWA}_pattern": 2}, {"windows": (16, 0)}),
    ("gemma3_text", {SWA: 16, f"{SWA}_pattern": [False, True]}, {"windows": (0, 16)}),
    ("gemma3_text", {}, {"windows": ()}),
]


@pytest.mark.parametrize(("family", "metadata", "want"), GEMMAS)
def test_gemma(family: str, metadata: dict[str, Any], want: dict[str, Any], make_gguf: Any) -> None:
    """Norms under llama.cpp's names, gains with the 1 in them, windows and caps from the file or from llama.cpp."""
    path, state = make_gguf(family, {"{arch}.rope.freq_base": 1e6, **metadata}, head_dim=16, pad_token_id=0)
    checkpoint = load_checkpoint(str(path))
    config = checkpoint.config
    assert config.family == family and config.tied_embeddings and config.double_norms
    assert (config.activation, config.query_scale, config.norm_eps) == ("gelu_tanh", 0.25, pytest.approx(1e-6))
    assert config.embed_scale == float(np.float32(32**0.5))
    assert {key: getattr(config, key) for key in want} == want
    assert bool(config.local_inv_freq) == (family == "gemma3_text")
    if config.local_inv_freq:
        assert np.allclose(config.local_inv_freq, 1e4 ** (-np.arange(8) / 8), rtol=1e-6)
    assert checkpoint.readers.keys() == state.keys() - {"lm_head.weight"}
    for name in checkpoint.readers:
        assert np.array_equal(checkpoint.tensor(name), state[name] + np.float32("norm" in name)), name


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"{arch}.attn_logit_softcapping": 5.0}, ["gemma3.attn_logit_softcapping"]),
        ({SWA: 16, f"{SWA}_pattern": 0}, ["sliding_window_pattern", "0"]),
        ({SWA: 16, f"{SWA}_pattern": [True]}, ["sliding_window_pattern", "2 layers"]),
        ({"{arch}.final_logit_softcapping": -1.0}, ["soft caps", "-1.0"]),
        ({SWA: "wide"}, ["'wide'"]),
    ],
)
def test_gemma_refused(metadata: dict[str, Any], words: list[str], make_gguf: Any, refuses: Any) -> None:
    path, _ = make_gguf("gemma3_text", metadata, head_dim=16, pad_token_id=0)
    refuses(lambda: load_checkpoint(str(path)), *words)


@pytest.mark.parametrize(
    ("metadata", "word"),
    [
        ({"{arch}.expert_count": 8}, "experts"),
        ({"{arch}.logit_scale": 2.0}, "llama.logit_scale"),
        ({"{arch}.rope.scaling.type": "longrope"}, "longrope"),
        ({"{arch}.rope.dimension_count": 4}, "equal"),
        ({"{arch}.attention.value_length": 4}, "equal"),
        ({"{arch}.attention.sliding_window": 0}, ""),
    ],
)
def test_metadata_that_would_be_computed_wrongly(
    metadata: dict[str, Any], word: str, make_gguf: Any, refuses: Any
) -> None:
    path, _ = make_gguf("llama", metadata)
    if word:
        refuses(lambda: load_checkpoint(str(path)), "model.gguf", word)
    else:  # a window of 0 is how llama.cpp says that there is none
        assert load_checkpoint(str(path)).config.max_seq_len == 128


def test_tensors_that_do_not_fit_the_metadata(make_gguf: Any, refuses: Any) -> None:
    bias = {"blk.0.attn_q.bias": np.zeros(32, np.float32)}
    path, _ = make_gguf("llama", more=bias)
    refuses(lambda: load_checkpoint(str(path)), "model.layers.1.self_attn.q_proj.bias")
    path, _ = make_gguf("llama", more={"blk.0.attn_sinks.weight": np.zeros(4, np.float32)})
    refuses(lambda: load_checkpoint(str(path)), "blk.0.attn_sinks.weight")
    path, _ = make_gguf("llama", more={"rope_freqs.weight": np.zeros(4, np.float32)})
    refuses(lambda: load_checkpoint(str(path)), "rope_freqs.weight")
    path, _ = make_gguf("llama", {"{arch}.attention.layer_norm_rms_epsilon_": 1.0})
    refuses(lambda: load_checkpoint(str(path)), "epsilon_")


def test_any_metadata_is_a_sentence_or_harmless(make_gguf: Any, monkeypatch: Any) -> None:
    path, _ = make_gguf("llama", {"{arch}.rope.scaling.type": "yarn", "{arch}.rope.scaling.factor": 4.0})
    sound = read_gguf(path)
    more = ["llama.attention.key_length", "llama.attention.sliding_window", "tokenizer.ggml.token_type"]
    for key in [*sound.metadata, *more]:
        for value in ("x", -1, 10**30, ["a", "b"], float("nan"), None):
            damaged = GgufFile(path, sound.metadata | {key: value}, sound.tensors)
            monkeypatch.setattr(gguf_front_end, "read_gguf", lambda _, damaged=damaged: damaged)
            try:
                load_checkpoint(str(path))
            except ModelError as error:
                assert "\n" not in str(error) and str(error).endswith("."), key
