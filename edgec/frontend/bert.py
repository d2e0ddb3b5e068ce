"""BERT-type encoders in Hugging Face folders: config.json, safetensors, and what sentence-transformers adds.

Of a folder of sentence-transformers, modules.json and its Pooling module say how rows become one vector. Without one
the vector is the mean of the rows, which is what that library does too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgec.errors import ModelError
from edgec.frontend.checkpoint import Checkpoint, FloatArray, TextTokenizer
from edgec.frontend.checks import MAX_LAYERS, MAX_SIZE, check_tensors, one_line
from edgec.frontend.encoder_config import EncoderConfig
from edgec.frontend.model_config import POSITIONS, ModelConfig
from edgec.frontend.provenance import describe
from edgec.frontend.safetensors_file import StoredTensor, read_header
from edgec.frontend.tokenizer import FILES, folder_tokenizer, read_json

FAMILIES = ("bert",)
GELU = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
POOLING = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}
PARTS = {
    "attention.self.query": "self_attn.q_proj",
    "attention.self.key": "self_attn.k_proj",
    "attention.self.value": "self_attn.v_proj",
    "attention.output.dense": "self_attn.o_proj",
    "attention.output.LayerNorm": "self_attn_norm",
    "intermediate.dense": "mlp.up_proj",
    "output.dense": "mlp.down_proj",
    "output.LayerNorm": "mlp_norm",
}
# Heads of other uses, and indices that follow from the sizes.
UNUSED = ("pooler.", "cls.", "classifier.", "embeddings.position_ids")
WORDS, ORDER, TYPES = (f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type"))


def load_bert(folder: Path, source: str, tokenizer: TextTokenizer | None = None) -> Checkpoint:
    """The encoder in `folder`. Every tensor's presence and shape is checked here, its values when it is read."""
    from edgec.frontend.huggingface import weight_files

    config, positions, notes = read_encoder(folder)
    stored: dict[str, StoredTensor] = {}
    paths = weight_files(folder)
    for path in paths:
        for name, tensor in read_header(path).items():
            stored[name.removeprefix("bert.")] = tensor
    used = {name: tensor for name, tensor in stored.items() if not name.startswith(UNUSED)}
    readers, shapes = _tensors(str(folder), config, positions, used)
    check_tensors(str(folder), config, shapes)
    for tensor in used.values():
        tensor.check_dtype()
    text = between_tokens(str(folder), tokenizer or folder_tokenizer(folder))
    beside = ("config.json", "modules.json", "sentence_bert_config.json", *FILES)
    files = [*paths, *(path for name in beside if (path := folder / name).is_file())]
    return Checkpoint(config, readers, text, describe(source, "huggingface", files, notes))


def read_encoder(folder: Path) -> tuple[EncoderConfig, int, list[str]]:
    """The shape, the rows of the stored table of positions, and notes. Raises ModelError if edgec does not lower it."""
    where = str(folder / "config.json")
    raw = read_json(folder / "config.json")
    if isinstance(custom := raw.get("auto_map"), dict) and custom:
        raise ModelError(f"{where} replaces the model by code of its own, which edgec neither runs nor knows.")
    if raw.get("quantization_config") is not None:
        raise ModelError(f"{where} describes quantised weights; edgec reads encoders in float only.")
    kind = raw.get("position_embedding_type", "absolute")
    if kind != "absolute":
        raise ModelError(f"{where} asks for positions of type {kind!r}; edgec lowers absolute ones for encoders.")
    if raw.get("is_decoder") or raw.get("add_cross_attention"):
        raise ModelError(f"{where} makes a decoder of a BERT model; edgec lowers it as an encoder only.")
    activation = raw.get("hidden_act", "gelu")
    if activation not in GELU:
        raise ModelError(f"{where} asks for the activation {activation!r}; edgec lowers {', '.join(GELU)} in encoders.")
    sizes = {
        "vocab_size": raw.get("vocab_size", 30522),
        "hidden_dim": raw.get("hidden_size", 768),
        "n_layers": raw.get("num_hidden_layers", 12),
        "n_heads": raw.get("num_attention_heads", 12),
        "ffn_dim": raw.get("intermediate_size", 3072),
        "max_seq_len": raw.get("max_position_embeddings", 512),
    }
    for name, size in sizes.items():
        limit = MAX_LAYERS if name == "n_layers" else MAX_SIZE
        if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= limit:
            raise ModelError(f"{where} gives {name} as {size!r}; it must be a whole number from 1 to {limit:,}.")
    eps = raw.get("layer_norm_eps", 1e-12)
    if not isinstance(eps, float) or not 1e-30 < eps < 1:
        raise ModelError(f"{where} gives layer_norm_eps as {eps!r}; it must be a small positive number.")
    positions, notes = sizes["max_seq_len"], list[str]()
    longest = read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    if isinstance(longest, int) and 0 < longest < positions:
        notes.append(f"texts are cut at {longest} of {positions} positions, as sentence_bert_config.json says")
        sizes["max_seq_len"] = longest
    pooling, normalize = _pooling(folder, notes)
    heads = sizes["n_heads"]
    try:
        config = EncoderConfig(
            family=str(raw["model_type"]),
            **sizes,
            n_kv_heads=heads,
            head_dim=sizes["hidden_dim"] // heads,
            norm_eps=eps,
            rope_inv_freq=(),
            gelu=GELU[activation],
            pooling=pooling,
            normalize=normalize,
        )
    except ModelError as error:
        raise ModelError(f"{where} contradicts itself: {one_line(error)}.") from error
    return config, positions, notes


def _pooling(folder: Path, notes: list[str]) -> tuple[str, bool]:
    """How rows become a vector, and whether it gets the length 1."""
    file = folder / "modules.json"
    if not file.is_file():
        notes.append("no modules.json: the vector is the mean of the last layer's rows")
        return "mean", False
    import json

    try:
        modules: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
        paths = dict(zip(kinds, (str(module["path"]) for module in modules), strict=True))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file} is not a list of modules: {one_line(error)}.") from error
    for kind in kinds:
        if kind not in ("Transformer", "Pooling", "Normalize"):
            raise ModelError(f"{file} has a module {kind}; edgec lowers Transformer, Pooling and Normalize.")
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise ModelError(f"{file} lists {', '.join(kinds)}; edgec lowers Transformer, Pooling and perhaps Normalize.")
    where = folder / paths["Pooling"] / "config.json"
    if not where.is_file():
        raise ModelError(f"{file} needs {where}, which is not there; download it again.")
    modes = [key for key, on in read_json(where).items() if key.startswith("pooling_mode_") and on]
    if len(modes) != 1 or modes[0] not in POOLING:
        asked = " and ".join(modes) or "nothing"
        raise ModelError(f"{where} asks for {asked}; edgec pools by the mean of the tokens or by the first one.")
    return POOLING[modes[0]], kinds[2:] == ["Normalize"]


def family_names(config: ModelConfig) -> dict[str, str]:
    """edgec's name of every tensor in BERT's files but the tables of positions and types, which become one."""
    names = {WORDS: "model.embed_tokens.weight"}
    names |= {f"embeddings.LayerNorm.{part}": f"model.embed_norm.{part}" for part in ("weight", "bias")}
    for layer in range(config.n_layers):
        for theirs, ours in PARTS.items():
            for part in ("weight", "bias"):
                names[f"encoder.layer.{layer}.{theirs}.{part}"] = f"model.layers.{layer}.{ours}.{part}"
    return names


def _tensors(
    where: str, config: EncoderConfig, positions: int, stored: Mapping[str, StoredTensor]
) -> tuple[dict[str, Callable[[], FloatArray]], dict[str, tuple[int, ...]]]:
    """Readers and shapes under edgec's names; the table of positions has the embedding of token type 0 in it."""
    names = family_names(config)
    for name, rows in ((ORDER, positions), (TYPES, None)):
        if name not in stored:
            raise ModelError(f"{where} has no tensor {name}; the model is incomplete or its configuration is wrong.")
        shape = stored[name].shape
        if len(shape) != 2 or shape[1] != config.hidden_dim or shape[0] < 1 or rows not in (None, shape[0]):
            raise ModelError(f"{where}: tensor {name} has shape {list(shape)}, which the configuration does not say.")
    readers: dict[str, Callable[[], FloatArray]] = {}
    shapes: dict[str, tuple[int, ...]] = {POSITIONS: (config.max_seq_len, config.hidden_dim)}
    for name, tensor in stored.items():
        if name not in (ORDER, TYPES):
            ours = names.get(_spelled(name), name)
            readers[ours], shapes[ours] = tensor.read, tensor.shape
    readers[POSITIONS] = partial(_positions, stored[ORDER], stored[TYPES], config.max_seq_len)
    return readers, shapes


def _spelled(name: str) -> str:
    """Norms of old exports are called gamma and beta."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _positions(table: StoredTensor, types: StoredTensor, rows: int) -> FloatArray:
    made: FloatArray = table.read()[:rows] + types.read()[:1]
    if np.abs(made).max() > np.finfo(np.float16).max:
        raise ModelError(f"{table.path}: positions reach {np.abs(made).max():.3g}, more than 16-bit floats hold.")
    return made


def between_tokens(where: str, tokenizer: TextTokenizer) -> TextTokenizer:
    """The tokenizer that puts a text between the two tokens that the model was made with ([CLS] and [SEP])."""
    around = tokenizer.backend.encode("", add_special_tokens=True).ids
    if len(around) != 2:
        raise ModelError(f"the tokenizer of {where} puts {len(around)} tokens around a text; an encoder has two.")
    return replace(tokenizer, bos_id=around[0], eos_ids=(around[1],), add_bos=True, add_eos=True)
