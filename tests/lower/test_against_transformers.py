"""Loading and lowering against transformers: random tiny models, the graph's float ideals, the same logits.

Tolerance, relative to the largest logit: the rope table rounds cos and sin to half of 2^-14 (3e-5), in q and in k of
three layers: 6 times 3e-5; a table of learned positions rounds to binary16, half of 2^-11 of an element. With that
rounding taken out only float32's own is left.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.compress.rtn import quantize_model
from edgec.frontend.checkpoint import Checkpoint
from edgec.frontend.load import load_checkpoint
from edgec.frontend.model_config import POSITIONS
from edgec.lower.llama import constants, lower
from edgec.passes.score_rows import score_rows
from edgec.recipe import Quantize
from edgec.simulate.reference import ReferenceRunner
from edgec.verify.quality import float_runner

CONTEXT, CHUNK, PROMPT = 64, 7, 20
ROUNDED_TABLE, ROUNDED_POSITIONS, EXACT_TABLE = 6 * 2**-15, 2**-11, 3e-6
SIZES: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 40,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
LLAMA3 = {
    **{"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}
LONG: dict[str, Any] = {
    **{"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 64},
    **{"short_factor": [1.0, 1.1, 1.2, 1.3, 1.5], "long_factor": [2.0, 3.0, 4.0, 5.0, 6.0]},
}
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GEMMA = {"head_dim": 12, "sliding_window": 6, "query_pre_attn_scalar": 20, "tie_word_embeddings": True, **TOKENS}
GPT2 = {"n_embd": 40, "n_layer": 3, "n_head": 4, "n_positions": 128, "vocab_size": 259, **TOKENS}
GPT_NEO: dict[str, Any] = {
    **{"hidden_size": 40, "num_layers": 3, "num_heads": 4, "max_position_embeddings": 128, "vocab_size": 259, **TOKENS},
    **{"attention_types": [[["global", "local"], 1], [["local"], 1]], "window_size": 6},
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama tied": ("llama", {"tie_word_embeddings": True}),
    "llama attention bias": ("llama", {"attention_bias": True}),
    "llama mlp bias": ("llama", {"mlp_bias": True}),
    "llama multi-head": ("llama", {"num_key_value_heads": 4}),
    "llama multi-query": ("llama", {"num_key_value_heads": 1}),
    "llama head_dim": ("llama", {"head_dim": 6}),
    "llama llama3": ("llama", {"rope_parameters": LLAMA3}),
    "llama yarn": ("llama", {"rope_parameters": YARN}),
    "llama theta": ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
    "mistral": ("mistral", {"sliding_window": None, "head_dim": 12}),
    "qwen2": ("qwen2", {}),
    "qwen2 tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "qwen3 tied": ("qwen3", {"head_dim": 6, "tie_word_embeddings": True}),
    "mistral window": ("mistral", {"sliding_window": 5}),
    "qwen2 window": ("qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    "phi3": ("phi3", TOKENS),
    "phi3 window": ("phi3", {"sliding_window": 6, **TOKENS}),
    "phi3 longrope": ("phi3", {"original_max_position_embeddings": 64, "rope_parameters": LONG, **TOKENS}),
    "gemma2": ("gemma2", {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 1.5}),
    "gemma2 own head": ("gemma2", {**GEMMA, "tie_word_embeddings": False, "attention_bias": True}),
    "gemma3": ("gemma3_text", {**GEMMA, "sliding_window_pattern": 3}),
    "gpt2": ("gpt2", GPT2),
    "gpt2 own head": ("gpt2", {**GPT2, "tie_word_embeddings": False, "n_inner": 56, "activation_function": "gelu"}),
    "gpt2 unscaled": ("gpt2", {**GPT2, "scale_attn_weights": False}),
    "gpt_neo": ("gpt_neo", GPT_NEO),
    "gemma3 cap": ("gemma3_text", {**GEMMA, "sliding_window_pattern": 2, "final_logit_softcapping": 3.0}),
}


def saved(family: str, options: dict[str, Any], folder: Path) -> Any:
    """A random transformers model, saved; norms and biases told apart from their defaults."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(1)
    sizes = {} if family.startswith("gpt") else SIZES  # which name them otherwise
    gain = 0.0 if family.startswith("gemma") else 1.0  # Gemma stores gains less 1
    auto: Any = AutoModelForCausalLM
    model = auto.from_config(AutoConfig.for_model(family, **{**sizes, **options})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or (".ln_" in name and name.endswith("weight")):
                parameter.normal_(gain, 0.3)
            else:
                parameter.normal_(0.0, 0.3 if parameter.ndim == 1 else parameter.shape[1] ** -0.5)
    model.save_pretrained(folder)
    return model


def ours(folder: Path) -> tuple[Any, dict[str, Any], Any]:
    """Checkpoint, constants and a maker of scoring graphs by rows."""
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")
    checkpoint = load_checkpoint(str(folder))
    model = quantize_model(checkpoint, Quantize(bits=8))
    consts = constants(model, CONTEXT)
    return checkpoint, consts, lambda rows: score_rows(lower(model, dict(consts), "prefill", rows, CONTEXT))


def logits_of(runner: ReferenceRunner, tokens: list[int], rows: int) -> np.ndarray[Any, Any]:
    """Logits of all rows, fed `rows` at a time."""
    out = runner.graphs["score"].outputs[0]
    pieces = [runner.values("score", tokens[at : at + rows])[out] for at in range(0, len(tokens), rows)]
    return np.concatenate(pieces)


@pytest.mark.parametrize("name", MODELS)
def test_logits(name: str, tmp_path: Path) -> None:
    import torch

    family, options = MODELS[name]
    theirs_model = saved(family, options, tmp_path)
    tokens = [(37 * i + 11) % SIZES["vocab_size"] for i in range(PROMPT)]
    with torch.no_grad():
        theirs = theirs_model(torch.tensor([tokens])).logits[0].numpy()
    checkpoint, consts, graph = ours(tmp_path)
    top = np.abs(theirs).max()
    assert theirs.std() > 0.1
    rounded = ROUNDED_POSITIONS if checkpoint.config.learned_positions else ROUNDED_TABLE
    for rows in (PROMPT, CHUNK, 1):
        found = logits_of(float_runner(checkpoint, graph(rows), consts), tokens, rows)
        assert np.abs(found - theirs).max() / top < rounded, rows
    found = logits_of(float_runner(checkpoint, graph(CHUNK), exact_tables(checkpoint)), tokens, CHUNK)
    assert np.abs(found - theirs).max() / top < EXACT_TABLE


@pytest.mark.parametrize("name", MODELS)
def test_the_torch_model(name: str, tmp_path: Path) -> None:
    """What compression stages run."""
    import torch

    from edgec.compress.torch_model import load_torch

    family, options = MODELS[name]
    theirs_model = saved(family, options, tmp_path)
    tokens = torch.arange(2 * PROMPT).reshape(2, PROMPT) * 37 % SIZES["vocab_size"]
    checkpoint, _, _ = ours(tmp_path)
    with torch.no_grad():
        theirs, found = theirs_model(tokens).logits, load_torch(checkpoint)(tokens)
    assert (found - theirs).abs().max() / theirs.abs().max() < EXACT_TABLE


def exact_tables(checkpoint: Checkpoint) -> dict[str, np.ndarray[Any, Any]]:
    """The tables by position without rounding."""
    config = checkpoint.config
    if config.learned_positions:
        return {"positions.table": checkpoint.tensor(POSITIONS)}
    tables = {}
    for name, frequencies in (("rope.table", config.rope_inv_freq), ("rope_local.table", config.local_inv_freq)):
        angles = np.arange(CONTEXT)[:, None] * np.asarray(frequencies)[None, :]
        tables[name] = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * 2**14
    return tables


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "phi3 window", "gemma2 own head", "gemma3 cap", "gpt_neo"])
def test_int8_stays_close(name: str, tmp_path: Path) -> None:
    """The reference of the quantised model is the float model up to quantisation, not some other model."""
    import torch

    family, options = MODELS[name]
    theirs_model = saved(family, options, tmp_path)
    tokens = [(37 * i + 11) % SIZES["vocab_size"] for i in range(PROMPT)]
    with torch.no_grad():
        theirs = theirs_model(torch.tensor([tokens])).logits[0].numpy()
    _, consts, graph = ours(tmp_path)
    found = logits_of(ReferenceRunner({"score": graph(CHUNK)}, consts), tokens, CHUNK)
    a, b = found.ravel().astype(np.float64), theirs.ravel().astype(np.float64)
    assert a @ b / np.sqrt((a @ a) * (b @ b)) > 0.999
