"""Random models as GGUF files, written as llama.cpp's converter writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgec.frontend.gguf import GLOBAL, PER_GEMMA_LAYER, PER_LAYER

N_HEADS, N_KV_HEADS = 4, 2


def permute(array: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """LlamaModel.permute of llama.cpp's convert_hf_to_gguf.py."""
    return array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def write_gguf(
    path: Path,
    make_model: Callable[..., tuple[Path, dict[str, Any]]],
    family: str,
    metadata: dict[str, Any] | None = None,
    quantise: str | None = None,
    more: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Path, dict[str, Any]]:
    """A .gguf file of a random model at `path`, and the model's tensors.

    metadata    keys beside those that every file has; {arch} stands for the architecture
    quantise    a GGML type of all matrices
    more        tensors by GGUF's names
    """
    import gguf

    _, state = make_model(family, **options)
    arch = {"mistral": "llama", "gemma3_text": "gemma3"}.get(family, family)
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
