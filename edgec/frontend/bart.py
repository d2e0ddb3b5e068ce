"""BART-type models in Hugging Face folders: config.json, safetensors, and how generation begins and ends.

A source stands between the tokenizer's two tokens (<s> and </s>). What is written begins with the decoder's start token
and, where the configuration forces a first token, that one; it ends with </s>. edgec picks tokens greedily or samples:
beams, and penalties of lengths and repetitions, which some folders ask transformers for, are noted and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgec.errors import ModelError
from edgec.frontend.bert import GELU, between_tokens
from edgec.frontend.checkpoint import Checkpoint, FloatArray, TextTokenizer
from edgec.frontend.checks import MAX_LAYERS, MAX_SIZE, check_tensors, one_line
from edgec.frontend.model_config import POSITIONS
from edgec.frontend.provenance import describe
from edgec.frontend.safetensors_file import StoredTensor, read_header
from edgec.frontend.seq2seq_config import ENCODER_POSITIONS, HEAD_BIAS, Seq2SeqConfig
from edgec.frontend.tokenizer import FILES, folder_tokenizer, read_json

FAMILIES = ("bart",)
OFFSET = 2  # rows of a stored table of positions in front of position 0's
ACTIVATIONS = {"erf": "gelu", "tanh": "gelu_tanh"}
EMBED, BIAS = "model.shared.weight", "final_logits_bias"
COPIES = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
SIZES = {
    **{"vocab_size": ("vocab_size", 50265), "hidden_dim": ("d_model", 1024)},
    **{"n_layers": ("decoder_layers", 12), "encoder_layers": ("encoder_layers", 12)},
    **{"n_heads": ("decoder_attention_heads", 16), "encoder_heads": ("encoder_attention_heads", 16)},
    **{"ffn_dim": ("decoder_ffn_dim", 4096), "encoder_ffn_dim": ("encoder_ffn_dim", 4096)},
    "max_seq_len": ("max_position_embeddings", 1024),
}
PARTS = {
    **{f"self_attn.{role}_proj": f"self_attn.{role}_proj" for role in "qkv"},
    **{f"cross_attn.{role}_proj": f"encoder_attn.{role}_proj" for role in "qkv"},
    **{"self_attn.o_proj": "self_attn.out_proj", "cross_attn.o_proj": "encoder_attn.out_proj"},
    **{"self_attn_norm": "self_attn_layer_norm", "cross_attn_norm": "encoder_attn_layer_norm"},
    **{"mlp.up_proj": "fc1", "mlp.down_proj": "fc2", "mlp_norm": "final_layer_norm"},
}
# Flags of the first exports that transformers ignores, and the only values for which it computes what they say.
IGNORED = {"normalize_before": False, "add_final_layer_norm": False, "normalize_embedding": True}
IGNORED |= {"static_position_embeddings": False}
SEARCH = {"num_beams": 1, "no_repeat_ngram_size": 0, "min_length": 0, "repetition_penalty": 1.0, "length_penalty": 1.0}


def load_bart(folder: Path, source: str, tokenizer: TextTokenizer | None = None) -> Checkpoint:
    """The model in `folder`. Every tensor's presence and shape is checked here, its values when it is read."""
    from edgec.frontend.huggingface import weight_files

    config, notes = read_seq2seq(folder)
    paths = weight_files(folder)
    stored: dict[str, StoredTensor] = {}
    for path in paths:
        for name, tensor in read_header(path).items():
            whole = name.startswith(("model.", "lm_head.")) or name == BIAS
            stored[name if whole else f"model.{name}"] = tensor  # saved without its head
    _check_copies(stored)
    if BIAS in stored and stored[BIAS].read().any():
        config = replace(config, logits_bias=True)
    readers, shapes = _tensors(str(folder), config, stored)
    check_tensors(str(folder), config, shapes)
    for tensor in stored.values():
        tensor.check_dtype()
    text = tokenizer or folder_tokenizer(folder)
    around = between_tokens(str(folder), text)
    text = replace(around, eos_ids=tuple(dict.fromkeys([*around.eos_ids, *_ends(folder), *text.eos_ids])))
    if any(token >= config.vocab_size for token in config.decoder_start):
        raise ModelError(f"{folder} begins with the tokens {list(config.decoder_start)}, beyond its vocabulary.")
    files = [*paths, *(path for name in ("config.json", *FILES) if (path := folder / name).is_file())]
    return Checkpoint(config, readers, text, describe(source, "huggingface", files, notes))


def read_seq2seq(folder: Path) -> tuple[Seq2SeqConfig, list[str]]:
    """The shape and notes. Raises ModelError if edgec does not lower it."""
    where = str(folder / "config.json")
    raw, generation = read_json(folder / "config.json"), read_json(folder / "generation_config.json")
    if isinstance(custom := raw.get("auto_map"), dict) and custom:
        raise ModelError(f"{where} replaces the model by code of its own, which edgec neither runs nor knows.")
    if raw.get("quantization_config") is not None:
        raise ModelError(f"{where} describes quantised weights; edgec reads BART in float only.")
    if raw.get("tie_word_embeddings", True) is not True:
        raise ModelError(f"{where} has a head of its own; edgec lowers BART with one table for tokens and head.")
    if raw.get("is_encoder_decoder", True) is not True:
        raise ModelError(f"{where} takes BART's decoder alone; edgec lowers it with its encoder.")
    for flag, usual in IGNORED.items():
        if raw.get(flag, usual) != usual:
            raise ModelError(f"{where} sets {flag} to {raw[flag]!r}, which edgec does not lower.")
    activation = raw.get("activation_function", "gelu")
    if activation not in GELU:
        raise ModelError(f"{where} asks for the activation {activation!r}; edgec lowers {', '.join(GELU)} in BART.")
    sizes = {ours: raw.get(theirs, usual) for ours, (theirs, usual) in SIZES.items()}
    for name, size in sizes.items():
        limit = MAX_LAYERS if name.endswith("_layers") else MAX_SIZE
        if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= limit:
            theirs = SIZES[name][0]
            raise ModelError(f"{where} gives {theirs} as {size!r}; it must be a whole number from 1 to {limit:,}.")
    found = {**raw, **{key: value for key, value in generation.items() if value is not None}}
    asked = [f"{key} {found[key]}" for key, plain in SEARCH.items() if found.get(key, plain) not in (plain, None)]
    notes = [f"tokens are picked one by one; left out of the folder's search: {', '.join(asked)}"] if asked else []
    try:
        config = Seq2SeqConfig.of(
            family=str(raw["model_type"]),
            **sizes,
            norm_eps=1e-5,  # PyTorch's default, which the family has no setting for
            activation=ACTIVATIONS[GELU[activation]],
            embed_scale=float(np.float32(sizes["hidden_dim"] ** 0.5)) if raw.get("scale_embedding") else 1.0,
            decoder_start=_start(where, found),
        )
    except ModelError as error:
        raise ModelError(f"{where} contradicts itself: {one_line(error)}.") from error
    return config, notes


def _start(where: str, found: Mapping[str, Any]) -> tuple[int, ...]:
    """The decoder's first token, and the one that is forced behind it."""
    start = [found.get("decoder_start_token_id", 2), found.get("forced_bos_token_id")]
    tokens = [token for token in start if token is not None]
    if start[0] is None or any(not isinstance(t, int) or isinstance(t, bool) or t < 0 for t in tokens):
        raise ModelError(f"{where}: decoder_start_token_id and forced_bos_token_id are {start}, not token ids.")
    return tuple(tokens)


def _ends(folder: Path) -> list[int]:
    ends = read_json(folder / "generation_config.json").get("eos_token_id")
    return [end for end in (ends if isinstance(ends, list) else [ends]) if isinstance(end, int)]


def _check_copies(stored: dict[str, StoredTensor]) -> None:
    """The table of tokens may be stored for each of its users; one of them stays."""
    copies = [name for name in (EMBED, *COPIES) if name in stored]
    for name in copies[1:]:
        if not np.array_equal(stored[copies[0]].read(), stored[name].read(), equal_nan=True):
            raise ModelError(f"{stored[name].path}: {name} differs from {copies[0]}, with which it is tied.")
    if copies:
        stored[EMBED] = stored[copies[0]]
    for name in COPIES:
        stored.pop(name, None)


def family_names(config: Seq2SeqConfig) -> dict[str, str]:
    """The name in BART's files of every tensor that a model of this shape has."""
    names = {"model.embed_tokens.weight": EMBED, HEAD_BIAS: BIAS}
    parts = (("model.encoder.", "model.encoder.", config.encoder_layers), ("model.", "model.decoder.", config.n_layers))
    for ours, theirs, layers in parts:
        names[f"{ours}embed_positions.weight"] = f"{theirs}embed_positions.weight"
        names |= {f"{ours}embed_norm.{part}": f"{theirs}layernorm_embedding.{part}" for part in ("weight", "bias")}
        for layer in range(layers):
            for mine, other in PARTS.items():
                for part in ("weight", "bias"):
                    names[f"{ours}layers.{layer}.{mine}.{part}"] = f"{theirs}layers.{layer}.{other}.{part}"
    return {name: names[name] for name in config.tensor_shapes()}


def _tensors(
    where: str, config: Seq2SeqConfig, stored: Mapping[str, StoredTensor]
) -> tuple[dict[str, Callable[[], FloatArray]], dict[str, tuple[int, ...]]]:
    """Readers and shapes under edgec's names; tables of positions without the rows in front of them."""
    ours = {theirs: name for name, theirs in family_names(config).items()}
    readers: dict[str, Callable[[], FloatArray]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for theirs, tensor in stored.items():
        name, shape = ours.get(theirs, theirs), tensor.shape
        if name in (POSITIONS, ENCODER_POSITIONS):
            readers[name], shapes[name] = partial(_positions, tensor), (shape[0] - OFFSET, *shape[1:]) if shape else ()
        elif theirs == BIAS:
            if shape != (1, config.vocab_size):
                raise ModelError(f"{where}: tensor {BIAS} has shape {list(shape)}, not [1, {config.vocab_size}].")
            if config.logits_bias:
                readers[HEAD_BIAS], shapes[HEAD_BIAS] = partial(_only_row, tensor), shape[1:]
        else:
            readers[name], shapes[name] = tensor.read, shape
    return readers, shapes


def _positions(table: StoredTensor) -> FloatArray:
    made: FloatArray = table.read()[OFFSET:]
    if np.abs(made).max() > np.finfo(np.float16).max:
        raise ModelError(f"{table.path}: positions reach {np.abs(made).max():.3g}, more than 16-bit floats hold.")
    return made


def _only_row(tensor: StoredTensor) -> FloatArray:
    row: FloatArray = tensor.read()[0]
    return row
