"""GGUF files of llama.cpp, of any quantisation that the gguf package can expand to float32.

Matrices in the formats of `gguf_blocks.py` are taken over code by code as well, others can only be rounded again.
llama.cpp stores the rows of q and k of `llama` models as rotary pairs (2i, 2i+1); they are put back
in Hugging Face's order here. Its Qwen models keep that order themselves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from edgec.errors import ModelError
from edgec.frontend.checkpoint import Checkpoint, FloatArray, TextTokenizer
from edgec.frontend.checks import ATTENTION_BIAS, MLP_BIAS, QK_NORM, QKV_BIAS, check_tensors
from edgec.frontend.gguf_blocks import packed_matrix, packs
from edgec.frontend.gguf_config import ROPE_FACTORS, read_config
from edgec.frontend.gguf_header import GgufFile, GgufTensor, read_gguf
from edgec.frontend.llama2c import halves_from_pairs
from edgec.frontend.model_config import ModelConfig
from edgec.frontend.provenance import describe

GLOBAL = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
PER_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# Gemma's, where the names of norms mean others; its gains are stored with the 1 added.
PER_GEMMA_LAYER = PER_LAYER | {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
LAYER_NAME = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")


def load_gguf(path: Path, source: str, tokenizer: TextTokenizer | None = None) -> Checkpoint:
    """The checkpoint in a .gguf file. Presence, shape and type of every tensor are checked here, values when read."""
    file = read_gguf(path)
    config, notes = read_config(file)
    names = PER_GEMMA_LAYER if config.double_norms else PER_LAYER
    named = {hf_name(name, names): tensor for name, tensor in file.tensors.items() if name != ROPE_FACTORS}
    _check_types(file)
    shapes = {name: tensor.shape for name, tensor in named.items()}
    check_tensors(str(path), config, shapes, _extras(config, named), {n for n in named if "attn_rot_embd" in n})
    if tokenizer is None:
        from edgec.frontend.gguf_tokenizer import metadata_tokenizer

        tokenizer = metadata_tokenizer(path, file.metadata)
    known = config.tensor_shapes().keys() | config.optional_shapes().keys()
    readers: dict[str, Callable[[], FloatArray]] = {
        name: partial(_read, tensor, _heads_to_permute(config, name)) for name, tensor in named.items() if name in known
    }
    packed = {
        name: partial(packed_matrix, named[name], _heads_to_permute(config, name))
        for name in readers
        if packs(named[name])
    }
    provenance = describe(source, "gguf", [path], notes)
    provenance["source_types"] = dict(sorted(Counter(tensor.type_name for tensor in file.tensors.values()).items()))
    return Checkpoint(config, readers, tokenizer, provenance, packed)


def hf_name(name: str, per_layer: Mapping[str, str] = PER_LAYER) -> str:
    """The Hugging Face name of a GGUF tensor; a name that has none is returned as it is."""
    match = LAYER_NAME.fullmatch(name)
    if match and match[2] in per_layer:
        return f"model.layers.{int(match[1])}.{per_layer[match[2]]}.{match[3]}"
    return GLOBAL.get(name, name)


def _extras(config: ModelConfig, named: dict[str, GgufTensor]) -> frozenset[str]:
    """Which biases and norms this model has: GGUF says so only by storing them, so one layer asks for all."""
    found = {name.split(".", 3)[3] for name in named if name.startswith("model.layers.")}
    if config.family == "llama":
        return (ATTENTION_BIAS | MLP_BIAS) & found
    if config.family == "gemma2":
        return ATTENTION_BIAS & found
    return QKV_BIAS if config.family == "qwen2" else QK_NORM | (ATTENTION_BIAS & found)


def _check_types(file: GgufFile) -> None:
    """Raise ModelError for a quantisation that the gguf package cannot expand, before any is needed."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

    for kind, name in {tensor.type_name: tensor.name for tensor in file.tensors.values()}.items():
        type_ = GGMLQuantizationType[kind]
        try:
            dequantize(np.zeros(GGML_QUANT_SIZES[type_][1], np.uint8), type_)
        except NotImplementedError:
            raise ModelError(f"{file.path}: tensor {name} is stored as {kind}, which cannot be expanded.") from None


def _heads_to_permute(config: ModelConfig, name: str) -> int:
    if config.family != "llama":
        return 0
    if ".q_proj." in name:
        return config.n_heads
    return config.n_kv_heads if ".k_proj." in name else 0


def _read(tensor: GgufTensor, heads: int) -> FloatArray:
    array = tensor.read()
    return halves_from_pairs(array, heads) if heads else array
